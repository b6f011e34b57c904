"""What holds images: tensors in memory, parts of a dataset, and a split behind the door."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Subset, TensorDataset

from experiments.data.file_images import EncodedImages
from experiments.data.images import admit_image
from experiments.data.known import KNOWN, UNKNOWN, Published
from experiments.data.labels import class_index
from experiments.data.volumes import admit_volume
from experiments.data.wrapped import Around, Wrapped
from experiments.errors import DataError


class ImageDataset(Protocol):
    """Anything with a length whose items are (image, label).

    The image is a tensor (C, H, W) or an array (H, W), (H, W, C) or (C, H, W), uint8, uint16 or
    float in [0, 1], or a PIL image of any mode; the label is an integer from 0 (a numpy integer, a
    bool or an integer tensor () will do, a float never), or a name. Pixels of more than 8 bits keep
    their depth; those whose range would have to be guessed are refused, see
    experiments.data.admit. Optional attributes are read where they exist: `classes` (names),
    `targets` or `labels` (all labels, checked before training; without them 64 images of each split
    are), `mean` and `std` per channel, `image_size`. In place of a label there
    may be a mask, see experiments.data.masks.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> tuple[Any, Any]: ...


class Datasets(NamedTuple):
    """The three splits of a run, none of them empty; test is Unread where trainer.test is false.

    Test is evaluated once, at the end of the run; before it begins, 64 of its images and all labels
    that it offers are looked at, so that what cannot be read is told in time.
    """

    train: ImageDataset
    validation: ImageDataset
    test: ImageDataset


class TensorImages:
    """Images in memory. Shapes: images (N, C, H, W) uint8, targets (N,) int64.

    Other types of pixels and labels pass by the rules for a single image and label.
    """

    def __init__(
        self,
        images: Tensor,
        targets: Tensor,
        classes: Sequence[str],
        known: Published = UNKNOWN,
    ) -> None:
        self.images = images
        self.targets = targets
        self.target_names: list[str] = []  # of targets that are numbers
        self.classes = list(classes)
        self.mean, self.std, self.image_size = known

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Any]:
        target = self.targets[index]
        return self.images[index], target if target.ndim else target.item()


class Part:
    """Some images of a dataset, by index. Unlike torch's Subset it keeps what is known of it."""

    def __init__(self, base: ImageDataset, indices: np.ndarray) -> None:
        self.base: ImageDataset = base.base if isinstance(base, Part) else base
        self.indices: np.ndarray = base.indices[indices] if isinstance(base, Part) else indices
        for name in KNOWN:
            if hasattr(base, name):
                setattr(self, name, getattr(base, name))

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        return self.base[int(self.indices[index])]


class Joined:
    """The images of several datasets, one after the other, with what is known of the first."""

    def __init__(self, *bases: ImageDataset) -> None:
        self.bases = bases
        self.ends = np.cumsum([len(base) for base in bases])
        for name in KNOWN:
            if hasattr(bases[0], name):
                setattr(self, name, getattr(bases[0], name))
        offered = [offered_targets(base) for base in bases]
        if all(isinstance(targets, np.ndarray) for targets in offered):
            self.targets = np.concatenate(offered)

    def __len__(self) -> int:
        return int(self.ends[-1])

    def place(self, index: int) -> tuple[Any, int]:
        """The dataset that has an image, and its index there."""
        part = int(np.searchsorted(self.ends, index, side="right"))
        base = self.bases[part]
        return base, index - int(self.ends[part]) + len(base)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        base, own = self.place(index)
        item: tuple[Any, Any] = base[own]
        return item


class Unread:
    """The test split of a run with trainer.test=false: it has no images that one could look at."""

    def __len__(self) -> int:
        return 0

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        raise DataError("the test split is not read: this run has trainer.test=false")


class SupportsItems(Protocol):
    """What has items ready for some indices."""

    def __getitem__(self, index: int, /) -> tuple[Any, Any] | None: ...


class Admitted(Around):
    """One split behind the door (experiments.data.admit): what everything else is given.

    Images come as admit_image leaves them, volumes as admit_volume does. sampled: the targets of
    the items that the door has looked at, by index. offers: whether the targets that the dataset
    offers are those of its items. decoded: items that are kept ready (experiments.data.decoded),
    None for one that is not.
    left_out: the names of damaged images that this split is without (experiments.data.scan).
    """

    def __init__(self, base: ImageDataset, split: str, alpha: str) -> None:
        super().__init__(base)
        self.split, self.alpha = split, alpha
        self.sampled: dict[int, Any] = {}
        self.offers = True
        self.decoded: SupportsItems | None = None
        self.left_out: list[str] = []

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        kept = None if self.decoded is None else self.decoded[index]
        if kept is not None:
            return kept
        return self.admit(self.base[index], index)

    def admit(self, item: Any, index: int) -> tuple[Any, Any]:
        """An item of the base as everything else is given it. Raises: DataError -> which one."""
        if not isinstance(item, (tuple, list)) or len(item) != 2:
            raise DataError(
                f"{locate(self, index)} is {_describe(item)}: each item must be (image, label); "
                "return these two from __getitem__"
            )
        image, target = item
        try:
            if getattr(self.base, "ndim", 2) == 3:
                return admit_volume(image), target
            return admit_image(image, self.alpha), target
        except DataError as error:
            raise DataError(f"{locate(self, index)} {error}") from error


def _describe(item: Any) -> str:
    count = f" of {len(item)}" if isinstance(item, (tuple, list)) else ""
    return f"a {type(item).__name__}{count}"


def labels_of(dataset: ImageDataset) -> np.ndarray:
    """Return all labels: those that the dataset offers, else by reading every item. Shape: (N,).

    Raises: DataError for a label that is no integer.
    """
    targets = offered_targets(dataset)
    if targets is None:
        targets = [dataset[index][1] for index in range(len(dataset))]
    if isinstance(targets, np.ndarray) and targets.ndim == 1 and targets.dtype.kind in "bui":
        return targets.astype(np.int64)
    labels = []
    for index, target in enumerate(targets):
        try:
            labels.append(class_index(target))
        except DataError as error:
            raise DataError(f"{locate(dataset, index)} {error}") from error
    return np.asarray(labels, dtype=np.int64)


def offered_targets(dataset: Any) -> Any:
    """Return all targets of a dataset that costs no decoding, by index; None if it offers none.

    They are those of a list of items, of the tensors of a TensorDataset, or an attribute `targets`
    or `labels` with as many entries as there are items, after a target_transform if there is one. A
    part of such a dataset (Part, torch's Subset) offers its share.
    """
    if type(dataset) in (list, tuple):
        pairs = all(isinstance(item, (list, tuple)) and len(item) == 2 for item in dataset)
        return [item[1] for item in dataset] if pairs else None
    if isinstance(dataset, Admitted) and not dataset.offers:
        return None
    share = part_of(dataset)
    if share is not None:
        whole = offered_targets(share[0])
        if whole is None or isinstance(whole, np.ndarray):
            return None if whole is None else whole[share[1]]
        return [whole[int(index)] for index in share[1]]
    if type(dataset) is TensorDataset and len(dataset.tensors) == 2:
        return _as_array(dataset.tensors[1])
    for name in ("targets", "labels"):
        found = getattr(dataset, name, None)
        if found is not None and hasattr(found, "__len__") and len(found) == len(dataset):
            change = getattr(dataset, "target_transform", None)
            return _as_array(found) if change is None else [change(target) for target in found]
    return None


def _as_array(targets: Any) -> Any:
    """Tensors and plain lists as arrays, which costs no copy of a tensor; others as they are."""
    if isinstance(targets, Tensor):
        return targets.detach().cpu().numpy()
    if isinstance(targets, list) and all(type(target) is int for target in targets):
        return np.asarray(targets)
    return targets


def part_of(dataset: Any) -> tuple[Any, np.ndarray] | None:
    """Return (the whole, the indices into it) of a part or an admitted dataset; None of others."""
    if isinstance(dataset, Part):
        return dataset.base, dataset.indices
    if type(dataset) is Subset:
        return dataset.dataset, np.asarray(dataset.indices, dtype=np.int64)
    if isinstance(dataset, Admitted):
        return dataset.base, np.arange(len(dataset))
    return None


def in_memory(dataset: ImageDataset) -> tuple[TensorImages, np.ndarray] | None:
    """Return the uint8 or float32 tensors behind a dataset, and its indices; None if it has none.

    Pixels of another type must each pass the door, hence are no such tensors.
    """
    if isinstance(dataset, TensorImages):
        ready = dataset.images.dtype in (torch.uint8, torch.float32)
        return (dataset, np.arange(len(dataset))) if ready else None
    share = part_of(dataset)
    held = None if share is None else in_memory(share[0])
    return None if share is None or held is None else (held[0], held[1][share[1]])


def locate(dataset: Any, index: int) -> str:
    """Return words for one image, for error messages: its split and its file where known."""
    if isinstance(dataset, Admitted):
        inner = locate(dataset.base, index)
        return f"{dataset.split} image {index} ({inner})"
    share = part_of(dataset)
    if share is not None:
        return locate(share[0], int(share[1][index]))
    if isinstance(dataset, Joined):
        return locate(*dataset.place(index))
    if isinstance(dataset, Wrapped):
        return locate(dataset.base, index)
    if isinstance(dataset, EncodedImages):
        return dataset.locate(index)
    samples = getattr(dataset, "samples", None)  # of torchvision's folders: (path, label)
    if isinstance(samples, list) and len(samples) == len(dataset):
        first = samples[index][0] if isinstance(samples[index], tuple) else None
        if isinstance(first, (str, Path)):
            return str(first)
    return f"image {index} of {type(dataset).__name__}"
