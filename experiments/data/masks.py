"""Masks: targets that give each pixel its class, and what they may be.

A dataset of them has items (image, mask). Optional attributes: `targets_are = "mask"` (else the
first item tells), `classes` (names, the background first where there is one), `ignore_index` (the
value of pixels that are of no class), `strata` (an integer per image: splits are balanced by it),
`ndim` (3 where images are volumes (C, D, H, W)).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from experiments.data.containers import (
    Admitted,
    ImageDataset,
    TensorImages,
    offered_targets,
)
from experiments.data.known import UNKNOWN, Published
from experiments.errors import DataError

CLASS, MASK = "class", "mask"
IGNORE = 255  # in the masks of this package
# Around a mask that is inscribed in a larger one, until its other values are checked: no file holds
# it, and float32, in which masks are turned, holds it exactly.
BORDER = -(2**62)
_INDEX_MODES = ("1", "L", "P", "I", "I;16", "I;16L", "I;16B")  # of PIL images


class TensorMasks(TensorImages):
    """Images and masks in memory. Shapes: images (N, C, *S) uint8, targets (N, *S) uint8."""

    targets_are = MASK

    def __init__(
        self, images: Tensor, masks: Tensor, classes: Sequence[str], known: Published = UNKNOWN
    ) -> None:
        super().__init__(images, masks, classes, known)
        self.ndim = masks.ndim - 1


def target_kind(dataset: Any) -> str:
    """Whether targets are masks or classes: as the dataset says, else as its first target is."""
    stated = getattr(dataset, "targets_are", None)
    if stated is not None:
        return str(stated)
    if isinstance(dataset, Admitted) and dataset.sampled:
        first = next(iter(dataset.sampled.values()))
    elif len(dataset):
        offered = offered_targets(dataset)
        first = dataset[0][1] if offered is None else offered[0]
    else:
        return CLASS
    return MASK if _is_mask(first) else CLASS


def require_targets(kind: str, wanted: str, way: str) -> None:
    """Refuse data of another task. way: what to type instead. Raises: DataError."""
    if kind != wanted:
        words = {CLASS: "a class for each image", MASK: "a mask for each image"}
        raise DataError(f"these data have {words[kind]}, and the task needs {words[wanted]}: {way}")


def _is_mask(target: Any) -> bool:
    if isinstance(target, Image.Image):
        return True
    return isinstance(target, (Tensor, np.ndarray)) and target.ndim >= 2 and min(target.shape) > 1


def class_mask(mask: Any) -> Tensor:
    """Return a mask as an integer tensor: uint8 as it is, else int64. Shape: (*S,).

    Raises: DataError for what holds no class indices -> what was given and what to type.
    """
    if isinstance(mask, Image.Image):
        if mask.mode not in _INDEX_MODES:
            raise DataError(
                f"has as mask a picture of mode {mask.mode}: a mask holds one class index from 0 "
                "per pixel; turn its colours into indices, or give data=mask_folder a table "
                "data.classes={background: [0, 0, 0], NAME: [R, G, B]}"
            )
        mask = np.array(mask)
    if isinstance(mask, np.ndarray) and mask.dtype.kind in "bui":
        mask = torch.from_numpy(np.ascontiguousarray(mask.astype(_narrow(mask.dtype))))
    if not isinstance(mask, Tensor):
        given = f"an array of {mask.dtype}" if isinstance(mask, np.ndarray) else repr(mask)
        raise DataError(
            f"has as mask {given:.60}: a mask is an integer array, tensor or PIL image of class "
            "indices from 0"
        )
    if mask.dtype.is_floating_point or mask.dtype.is_complex:
        raise DataError(
            f"has a mask of {str(mask.dtype).removeprefix('torch.')}: a class is an integer from "
            "0; give mask.long() if it holds indices, (mask > 0.5).long() if probabilities"
        )
    return mask if mask.dtype == torch.uint8 else mask.long()


def _narrow(dtype: np.dtype) -> type:
    return np.uint8 if dtype in (np.uint8, np.bool_) else np.int64


def require_same_size(image: Any, mask: Any) -> None:
    """Refuse a mask that does not lie on its image. Raises: DataError -> both sizes."""
    size = image.size[::-1] if isinstance(image, Image.Image) else tuple(image.shape[1:])
    own = tuple(class_mask(mask).shape)
    if own == tuple(size):
        return
    way = "resize it by nearest neighbour"
    if isinstance(image, Tensor) and own == tuple(image.shape):
        way = "the image has no axis of channels, give image[None]"
    elif own[1:] == tuple(size):
        way = "give mask[0]" if own[0] == 1 else "give mask.argmax(0) if it is one-hot"
    elif own == tuple(size)[::-1]:
        way = "its axes may be swapped, or the picture turned: give (H, W)"
    raise DataError(f"has a mask of {_times(own)} on an image of {_times(size)}: {way}")


def _times(size: Any) -> str:
    return " x ".join(map(str, size)) + " (H x W)" * (len(tuple(size)) == 2)


def wrong_label(mask: Tensor, num_classes: int, ignore_index: int | None) -> str | None:
    """What is wrong with the values of a mask, in words after its image's name; None if nothing."""
    mask = mask.int() if mask.dtype == torch.uint8 else mask  # a byte is never -100, nor below 256
    valid = (mask >= 0) & (mask < num_classes)
    if ignore_index is not None:
        valid |= mask == ignore_index
    if bool(valid.all()):
        return None
    wrong = mask[~valid]
    ignored = "" if ignore_index is None else f", or {ignore_index} for pixels that are ignored"
    return (
        f"has a mask with the value {int(wrong[0])} in {wrong.numel()} of {mask.numel()} pixels, "
        f"but there are {num_classes} classes: values must be 0 to {num_classes - 1}{ignored}"
    )


def check_masks(
    num_classes: int, ignore_index: int | None, masks: Tensor
) -> tuple[int, str] | None:
    """The first mask of a batch with a value that is no class, and the rule; None if there is none.

    Its border is none of its values.
    """
    if wrong_label(masks, num_classes, ignore_index) is None:
        return None
    wrongs = (wrong_label(mask[mask != BORDER], num_classes, ignore_index) for mask in masks)
    return next(((i, wrong) for i, wrong in enumerate(wrongs) if wrong is not None), None)


def count_pixels(dataset: ImageDataset, num_classes: int, ignore_index: int | None) -> Tensor:
    """How many pixels of each class the masks of a dataset have: (num_classes,).

    All of its masks are read, and its images where it does not offer them apart.
    """
    offered, counts = offered_targets(dataset), torch.zeros(num_classes, dtype=torch.int64)
    for index in range(len(dataset)):
        mask = class_mask(dataset[index][1] if offered is None else offered[index]).long()
        known = mask[(mask >= 0) & (mask < num_classes)]
        found = torch.bincount(known.flatten(), minlength=num_classes)
        if ignore_index is not None and ignore_index < num_classes:
            found[ignore_index] = 0
        counts += found
    return counts
