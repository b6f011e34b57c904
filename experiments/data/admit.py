"""The door of the platform: whatever get_data returns passes here before anything else sees it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from experiments.config.augment import check_pairs
from experiments.config.schema import Config
from experiments.data.containers import (
    Admitted,
    Datasets,
    Unread,
    in_memory,
    locate,
    offered_targets,
)
from experiments.data.decoded import keep_decoded
from experiments.data.given import as_dataset
from experiments.data.images import KEEP, require_unit_range
from experiments.data.listing import SPLIT_NAMES
from experiments.data.loader import check_batches
from experiments.data.masks import MASK, require_same_size, target_kind
from experiments.data.names import name_labels
from experiments.data.notes import join_names, say
from experiments.data.pixels import channels_of, to_tensor
from experiments.data.scan import scan
from experiments.data.seeding import preserved_generators
from experiments.data.splits import join
from experiments.errors import DataError, shortage

SAMPLE = 64  # items of each split that are looked at, evenly spaced
_CHUNK = 1024  # images in memory that are looked at in one operation
_WAY_OUT = {
    "train": "give training images",
    "validation": (
        "weights are selected by it; complete_splits(cfg.data, train, test) of experiments.data "
        "splits data.validation_fraction of train off, and a folder has room in val/<class>"
    ),
    "test": (
        "a run ends with its figures; put images aside for it, in a folder as test/<class>, or let "
        "split_off_test of experiments.data.splits take a fifth"
    ),
}


def admit(splits: Any, config: Config) -> Datasets:
    """Return the three splits, as the rest of the platform reads them.

    They may come in many kinds (see experiments.data.given), and labels may be names (see
    experiments.data.names). Everything about inputs that can be known without a model is told
    here, before there is a run directory: an empty split, a batch larger than the data, pixels of
    unknown range, shapes that exist in transparency alone. Of each split 64 evenly spaced items
    are read (tensors in memory are checked whole, without a copy); every further image is checked
    as it is loaded. Targets are the task's, see Task.check_data.

    Raises: DataError or ConfigError -> what was found, the rule, and what to type.
    """
    with preserved_generators():  # a dataset may draw from them: weights must not depend on that
        train, validation, test = _taken(splits, config)
    fit_all = config.data.fit == "all"
    given = join(train, validation) if fit_all else train, validation
    parts = [
        Admitted(dataset, split, config.data.alpha)
        for split, dataset in zip(Datasets._fields, (*given, test), strict=True)
    ]
    if config.data.check or config.data.skip_damaged:
        with preserved_generators():
            parts = scan(parts, config.data.skip_damaged, config.trainer.progress)
    check_batches(config.trainer, len(parts[0]), _world_size())
    check_pairs(config.augment, config.trainer, _world_size())
    with preserved_generators():
        for part in parts:
            _look_at(part)
        if config.data.cache is not None:
            # test is read once, and validation not at all where it is part of train
            keep_decoded(parts[: 1 if fit_all else 2], config.data.cache)
    return Datasets(*parts)


def targets_to_check(dataset: Any) -> Iterator[tuple[int, Any]]:
    """Yield (index, target): each distinct one where a dataset offers all, else those looked at."""
    offered = offered_targets(dataset)
    if offered is None:
        yield from getattr(dataset, "sampled", {}).items()
    elif isinstance(offered, np.ndarray) and offered.ndim == 1 and offered.dtype.kind != "O":
        _, first = np.unique(offered, return_index=True)
        yield from ((index, offered[index]) for index in np.sort(first).tolist())
    else:
        yield from enumerate(offered)


def _taken(splits: Any, config: Config) -> tuple[Any, Any, Any]:
    """Each split as a dataset with images, whose labels are no names."""
    taken = []
    for split, given in zip(Datasets._fields, _three(splits), strict=True):
        if split == "test" and not config.trainer.test:
            taken.append(Unread())  # not even its first item is looked at
            continue
        dataset = as_dataset(given, config.data, split)
        if not len(dataset):
            raise DataError(f"the {split} split has no images: {_WAY_OUT[split]}")
        taken.append(dataset)
    train, validation, test = name_labels(taken, Datasets._fields)
    return train, validation, test


def _three(splits: Any) -> tuple[Any, Any, Any]:
    if isinstance(splits, Mapping):
        splits = _by_name(splits)
    if isinstance(splits, (tuple, list)) and len(splits) == 3:
        train, validation, test = splits
        return train, validation, test
    way = (
        "Of two splits complete_splits(cfg.data, train, test) of experiments.data makes three, of "
        "one split_off_test(dataset) of experiments.data.splits two"
    )
    given = type(splits).__name__
    if isinstance(splits, (tuple, list)):
        given = f"{len(splits)} values"
        if len(splits) == 6:
            way = "Of six arrays make pairs: ((x, y), (x_valid, y_valid), (x_test, y_test))"
    elif splits is None:
        given, way = "None", "A function without `return` gives None"
    raise DataError(f"get_data returned {given}; it must return (train, validation, test). {way}")


def _by_name(splits: Mapping[Any, Any]) -> Any:
    """(train, validation, test) of a dict of splits, as Hugging Face has them.

    Raises: DataError for a dict that does not name these three.
    """
    found = [
        [key for key in splits if str(key).lower() in SPLIT_NAMES[split]]
        for split in Datasets._fields
    ]
    if [len(keys) for keys in found] == [1, 1, 1]:
        return tuple(splits[keys[0]] for keys in found)
    raise DataError(
        f"get_data returned a {type(splits).__name__} of "
        f"{join_names([str(key) for key in splits]) or 'nothing'}; it must return (train, "
        "validation, test). Of two splits complete_splits(cfg.data, data['train'], data['test']) "
        "of experiments.data makes three"
    )


def _world_size() -> int:
    ready = torch.distributed.is_available() and torch.distributed.is_initialized()
    return torch.distributed.get_world_size() if ready else 1


# --------------------------------------------------------------------------------------- the items
def _look_at(dataset: Admitted) -> None:
    """Read the sample: pixels pass the door, targets are kept, constant pixels are told."""
    _check_tensors(dataset)
    kind, extremes = "", dict[int, list[tuple[Tensor, Tensor]]]()
    chosen = np.unique(np.linspace(0, len(dataset) - 1, min(len(dataset), SAMPLE)).astype(int))
    for index in chosen.tolist():
        image, dataset.sampled[index] = _read(dataset, index)
        kind = kind or target_kind(dataset)
        if kind == MASK and isinstance(image, (Image.Image, Tensor)):
            _require_mask(dataset, index, image)
        if not _is_image(image):
            continue  # of another kind, whose rules are the task's
        low, high = _extremes(image)
        if dataset.alpha != KEEP and bool((low == high).all()):
            _require_shape(dataset, index)
        extremes.setdefault(len(low), []).append((low, high))
    dataset.offers = _offers_its_own(dataset)
    if dataset.split == "train" and len(extremes) == 1:
        pairs = next(iter(extremes.values()))
        low = torch.stack([pair[0] for pair in pairs]).amin(0)
        high = torch.stack([pair[1] for pair in pairs]).amax(0)
        if bool((low == high).any()):
            _tell_constant(dataset, low, high)


def _read(dataset: Admitted, index: int) -> tuple[Any, Any]:
    try:
        return dataset[index]
    except OSError as error:  # a dataset of the user's own that cannot read a file
        raise shortage(error) or DataError(
            f"cannot read {locate(dataset, index)}: {error}"
        ) from error


def _require_mask(dataset: Admitted, index: int, image: Any) -> None:
    try:
        require_same_size(image, dataset.sampled[index])
    except DataError as error:
        raise DataError(f"{locate(dataset, index)} {error}") from error


def _is_image(item: Any) -> bool:
    return isinstance(item, Image.Image) or (isinstance(item, Tensor) and item.ndim == 3)


def _extremes(image: Any) -> tuple[Tensor, Tensor]:
    """The least and the largest value of each channel. Shapes: (C,)"""
    pixels = to_tensor(image, channels_of(image)).flatten(1)
    return pixels.amin(1).double(), pixels.amax(1).double()


def _check_tensors(dataset: Admitted) -> None:
    """Floats in memory are read in whole batches, past the door: look at all of them now."""
    held = in_memory(dataset)
    if held is None or held[0].images.dtype == torch.uint8:
        return
    for start in range(0, len(dataset), _CHUNK):
        chunk = held[0].images[torch.as_tensor(held[1][start : start + _CHUNK])]
        low, high = chunk.aminmax()
        if low >= 0 and high <= 1:
            continue
        for offset, image in enumerate(chunk):
            try:
                require_unit_range(image)
            except DataError as error:
                raise DataError(f"{locate(dataset, start + offset)} {error}") from error


def _offers_its_own(dataset: Admitted) -> bool:
    """Whether the offered targets are those of the items: __getitem__ may change them."""
    offered = offered_targets(dataset)
    if offered is None:
        return False
    return all(_same(offered[index], target) for index, target in dataset.sampled.items())


def _same(one: Any, other: Any) -> bool:
    try:
        first, second = np.asarray(one), np.asarray(other)
        equal = bool(np.array_equal(first, second))
    except (RuntimeError, TypeError, ValueError):  # targets of some structure: not to be compared
        return False
    kinds = {"i" if array.dtype.kind in "bui" else array.dtype.kind for array in (first, second)}
    return equal and len(kinds) == 1


# ------------------------------------------------------------------------------------------ pixels
def _require_shape(dataset: Admitted, index: int) -> None:
    """Refuse an image of one colour on this background whose transparency has a shape."""
    image = Admitted(dataset.base, dataset.split, KEEP)[index][0]
    low, high = _extremes(image)
    if len(low) in (2, 4) and low[-1] < high[-1]:
        other = "black" if dataset.alpha == "white" else "white"
        raise DataError(
            f"{locate(dataset, index)} is of one colour on data.alpha={dataset.alpha}: its shape "
            f"is in its transparency; use data.alpha={other}, or keep for a channel of it"
        )


def _tell_constant(dataset: Admitted, low: Tensor, high: Tensor) -> None:
    seen = len(dataset.sampled)
    held = in_memory(dataset)
    if held is not None:
        for indices in torch.as_tensor(held[1]).split(_CHUNK):
            images = held[0].images[indices].transpose(0, 1).flatten(1)
            low = torch.minimum(low, images.amin(1).double())
            high = torch.maximum(high, images.amax(1).double())
        seen = len(dataset)
    constant = [str(channel) for channel in torch.nonzero(low == high).flatten().tolist()]
    if not constant:
        return
    what = (
        "all pixels"
        if len(constant) == len(low)
        else f"all pixels of channel{'s' if len(constant) > 1 else ''} {join_names(constant)}"
    )
    values = join_names([f"{low[int(channel)]:g}" for channel in constant])
    say(
        f"train: {what} have one value ({values}) in the {seen} images looked at: nothing can be "
        "learnt from them; look at the files, or at what get_data does to them"
    )
