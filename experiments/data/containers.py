"""What holds images: tensors in memory, files in class folders, and parts of either."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from PIL import Image
from torch import Tensor

from experiments.errors import DataError


class ImageDataset(Protocol):
    """Anything with a length whose items are (image, label).

    The image is a uint8 tensor (C, H, W), a float tensor (C, H, W) in [0, 1] or a PIL image; the
    label is an integer from 0. Optional attributes are read where they exist: `classes` (names),
    `targets` (all labels), `mean` and `std` per channel, `image_size`.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> tuple[Any, Any]: ...


class Datasets(NamedTuple):
    """The three splits of a run; test is read once, at its end."""

    train: ImageDataset
    validation: ImageDataset
    test: ImageDataset


class Published(NamedTuple):
    """What is known of a dataset beforehand; None is found out from its training images."""

    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    image_size: int | None = None


UNKNOWN = Published()


class TensorImages:
    """Images in memory. Shapes: images (N, C, H, W) uint8, targets (N,) int64."""

    def __init__(
        self,
        images: Tensor,
        targets: Tensor,
        classes: Sequence[str],
        known: Published = UNKNOWN,
    ) -> None:
        self.images = images
        self.targets = targets
        self.classes = list(classes)
        self.mean, self.std, self.image_size = known

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.images[index], int(self.targets[index])


class FolderImages:
    """Image files under one root, decoded when asked for. Items are PIL images in any mode.

    Raises: DataError if a file cannot be decoded, naming it.
    """

    def __init__(
        self,
        root: Path,
        samples: Sequence[tuple[str, int]],
        classes: Sequence[str],
        known: Published = UNKNOWN,
    ) -> None:
        self.root = root
        # One array of bytes, not a million strings: workers share its memory, whereas a string's
        # reference count is written at each use, which copies its page into every worker.
        self._names = np.array([os.fsencode(os.path.relpath(path, root)) for path, _ in samples])
        self.targets = np.array([label for _, label in samples], dtype=np.int64)
        self.classes = list(classes)
        self.mean, self.std, self.image_size = known

    def __len__(self) -> int:
        return len(self.targets)

    def path(self, index: int) -> Path:
        """Return the file of one image."""
        return self.root / os.fsdecode(bytes(self._names[index]))

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        path = self.path(index)
        try:
            with Image.open(path) as image:
                image.load()
        except Exception as error:  # Pillow's decoders raise many types on damaged files
            raise DataError(
                f"cannot read the image {path}: {error}. The file is damaged or no image: "
                "replace or delete it, then start again"
            ) from error
        return image, int(self.targets[index])


class Part:
    """Some images of a dataset, by index. Unlike torch's Subset it keeps what is known of it."""

    def __init__(self, base: ImageDataset, indices: np.ndarray) -> None:
        self.base: ImageDataset = base.base if isinstance(base, Part) else base
        self.indices: np.ndarray = base.indices[indices] if isinstance(base, Part) else indices
        for name in ("classes", "mean", "std", "image_size"):
            if hasattr(base, name):
                setattr(self, name, getattr(base, name))

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        return self.base[int(self.indices[index])]


def labels_of(dataset: ImageDataset) -> np.ndarray:
    """Return all labels: the dataset's `targets`, else by reading every item. Shape: (N,)."""
    if isinstance(dataset, Part) and hasattr(dataset.base, "targets"):
        return labels_of(dataset.base)[dataset.indices]
    targets = getattr(dataset, "targets", None)
    if targets is None:
        targets = [int(dataset[index][1]) for index in range(len(dataset))]
    return np.asarray(targets, dtype=np.int64)


def in_memory(dataset: ImageDataset) -> tuple[TensorImages, np.ndarray] | None:
    """Return the tensors behind a dataset and its indices into them; None if it has none."""
    base, indices = (
        (dataset.base, dataset.indices)
        if isinstance(dataset, Part)
        else (dataset, np.arange(len(dataset)))
    )
    return (base, indices) if isinstance(base, TensorImages) else None


def locate(dataset: ImageDataset, index: int) -> str:
    """Return words for one image, for error messages: its file if it has one."""
    if isinstance(dataset, Part):
        return locate(dataset.base, int(dataset.indices[index]))
    if isinstance(dataset, FolderImages):
        return str(dataset.path(index))
    return f"image {index} of {type(dataset).__name__}"
