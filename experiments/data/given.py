"""What people return as a split: rows with columns, arrays, pairs of them, things to iterate over.

Each becomes a dataset of items (image, target); whatever cannot is refused in a sentence.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from experiments.config.data import DataConfig
from experiments.data.arrays import as_tensor, pictures_of
from experiments.data.columns import Rows, column_values, find_columns
from experiments.data.containers import Admitted, Joined, Part, TensorImages
from experiments.data.file_images import EncodedImages
from experiments.data.listing import SPLIT_NAMES
from experiments.data.masks import TensorMasks
from experiments.data.notes import join_names, say
from experiments.errors import DataError, UserError

_READY = (Admitted, Part, Joined, TensorImages, EncodedImages)
_ALONE = "give (images, labels), or a dataset whose items are (image, label)"
_SPLITS = {name for names in SPLIT_NAMES.values() for name in names}


def as_dataset(given: Any, cfg: DataConfig, split: str) -> Any:
    """Return what get_data gave for a split as a dataset with a length and items by index.

    Rows with columns (a list of dicts, a dataset of Hugging Face) give two of their columns, which
    are found or named by data.image_column and data.label_column; so does a dict of columns. A pair
    (images, targets), arrays, tensors or lists of the same length, is held in memory. What can only
    be iterated over is read into memory. Others stay what they are.

    Shapes: images of a pair (N, H, W), as arrays also (N, H, W, C) or (N, C, H, W), as tensors
    (N, C, H, W).

    Raises: DataError for what is no split of images -> what was given and what to give.
    """
    if isinstance(given, _READY):
        return _without_columns(given, cfg)
    _refuse(given, split)
    if isinstance(given, Mapping):
        given = column_values(given, cfg, split)
    if (pair := _as_pair(given)) is not None:
        return _from_pair(*pair, split)
    if not _has_items(given) and isinstance(given, Iterable) and hasattr(given, "__len__"):
        given = _read_all(given, split)
    if not (hasattr(given, "__len__") and _has_items(given)):
        raise DataError(
            f"the {split} split is {type(given).__name__}, which has no length or no items by "
            "index; give a dataset with __len__ and __getitem__(index) -> (image, label)"
        )
    first = peek(given)
    if isinstance(first, Mapping):
        return Rows(given, *find_columns(first, cfg, split))
    return _without_columns(given, cfg)


def peek(dataset: Any) -> Any:
    """The first item; None where there is none, or where reading it fails in a way that the door,
    which reads it again, has words for."""
    try:
        return dataset[0] if len(dataset) else None
    except (OSError, UserError):
        return None


def _refuse(given: Any, split: str) -> None:
    """Raise DataError for things that have a length and items, and are no split all the same."""
    kind, what = type(given).__name__, ""
    if given is None:
        what = (
            "None: give images; of two splits complete_splits(cfg.data, train, test) of "
            "experiments.data makes three"
        )
    elif isinstance(given, DataLoader):
        what = (
            "a DataLoader; batches are made here, from data.workers and trainer.batch_size: give "
            "its dataset (loader.dataset)"
        )
    elif isinstance(given, type):
        what = f"the class {given.__name__}, not a dataset of it: give {given.__name__}(...)"
    elif isinstance(given, (str, bytes, Path)):
        what = (
            f"{given!r:.80}, a text: folders are read by data=folder data.root=FOLDER; or "
            "give items (Image.open(path), label)"
        )
    elif isinstance(given, (set, frozenset)):
        what = f"a {kind}, which has no order that another run would have, too: give a list"
    elif isinstance(given, (Tensor, np.ndarray)):
        what = f"one {kind} of shape {tuple(given.shape)}, without labels: {_ALONE}"
    elif hasattr(given, "iloc"):
        what = (
            f"a table ({kind}): its rows may hold paths or numbers; give a list of (image, label), "
            "for example [(Image.open(row.path), row.label) for row in table.itertuples()]"
        )
    elif isinstance(given, Mapping) and given and {str(k).lower() for k in given} <= _SPLITS:
        what = (
            f"a {kind} of the splits {join_names([str(k) for k in given])}: give one of them for "
            f"each split, as in data[{str(next(iter(given)))!r}]"
        )
    if what:
        raise DataError(f"the {split} split is {what}")


def _without_columns(given: Any, cfg: DataConfig) -> Any:
    for key in ("image_column", "label_column"):
        if getattr(cfg, key) is not None:
            raise DataError(
                f"data.{key}={getattr(cfg, key)}: the items of these data are no rows with "
                f"columns; type data.{key}=null"
            )
    return given


def _has_items(given: Any) -> bool:
    """Whether there is access by index: torch's Dataset has a method that only refuses it."""
    own = getattr(type(given), "__getitem__", None)
    return own not in (None, Dataset.__getitem__) and not isinstance(given, IterableDataset)


def _read_all(given: Any, split: str) -> list[Any]:
    count = len(given)
    say(
        f"{split}: {type(given).__name__} has no items by index, so all {count} are read into "
        "memory; __getitem__(index) would leave them where they are"
    )
    items = list(islice(iter(given), count + 1))
    if len(items) != count:
        more = "more" if len(items) > count else str(len(items))
        raise DataError(
            f"the {split} split is {type(given).__name__}, whose length is {count}, but it gives "
            f"{more} items: mend its __len__, or give a list"
        )
    return items


# ------------------------------------------------------------------------------------------- pairs
def _as_pair(given: Any) -> tuple[Any, Any] | None:
    """(images, targets), where that is what two things are; a list of two items is none."""
    if type(given) not in (tuple, list) or len(given) != 2:
        return None
    images, targets = given
    if not (isinstance(targets, (Tensor, np.ndarray)) or type(targets) in (tuple, list)):
        return None
    if isinstance(images, (Tensor, np.ndarray)):
        return images, targets
    pictures = type(images) in (tuple, list) and len(images) and all(map(_is_picture, images))
    two_items = len(images) == len(targets) == 2 and all(map(_is_picture, targets))
    return (images, targets) if pictures and not two_items else None


def _is_picture(thing: Any) -> bool:
    array = isinstance(thing, (Tensor, np.ndarray)) and thing.ndim >= 2
    return array or isinstance(thing, Image.Image)


def _from_pair(images: Any, targets: Any, split: str) -> Any:
    counts = [len(part) if getattr(part, "ndim", 1) else 0 for part in (images, targets)]
    if counts[0] != counts[1]:
        raise DataError(
            f"the {split} split is a pair of {counts[0]} images and {counts[1]} labels: give as "
            "many labels as images"
        )
    if not isinstance(images, (Tensor, np.ndarray)):
        return list(zip(images, targets, strict=True))
    pixels, labels = pictures_of(images, split), _targets(targets)
    if labels is None:
        return list(zip(pixels, targets, strict=True))
    if isinstance(labels, Tensor) and labels.ndim == pixels.ndim - 1:
        return TensorMasks(pixels, labels, [])
    return TensorImages(pixels, labels, [])  # type: ignore[arg-type]  # names are replaced soon


def _targets(targets: Any) -> Tensor | np.ndarray | None:
    """Numbers as a tensor, names as an array; None for others, which only their items can show."""
    if isinstance(targets, Tensor):
        return targets
    if type(targets) in (tuple, list):
        if any(hasattr(t, "__len__") and not isinstance(t, str) for t in targets):
            return None
        names = all(isinstance(target, str) for target in targets)
        alike = names or all(not isinstance(target, str) for target in targets)
        targets = np.array([_number(t) for t in targets]) if alike else np.array(None)
    if targets.dtype.kind == "O" and targets.ndim == 1 and all(type(t) is str for t in targets):
        targets = targets.astype(str)
    if targets.dtype.kind == "U" and targets.ndim == 1:
        return np.asarray(targets)
    return as_tensor(targets) if targets.dtype.kind in "biuf" else None


def _number(target: Any) -> Any:
    scalar = isinstance(target, Tensor) and target.ndim == 0
    return target.item() if scalar else target
