"""What a task must know of a dataset of masks, and how its samples become batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from experiments.config.data import DataConfig
from experiments.data.recipe import Batch, Recipe
from experiments.errors import DataError


@dataclass(frozen=True)
class MaskInfo:
    """Images (C, *S) of one size with their statistics, and what the values of masks mean."""

    shape: tuple[int, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    class_names: tuple[str, ...]
    ignore_index: int | None


def has_masks(dataset: Any) -> bool:
    """Whether the targets of a dataset are masks: it says so (`targets_are`), or the first is one.

    A mask has a value for every position of its image.
    """
    told = getattr(dataset, "targets_are", None)
    if told is not None:
        return bool(told == "masks")
    image, target = dataset[0]
    if isinstance(target, Image.Image):
        return True
    ndim = getattr(image, "ndim", 3)  # that of a PIL image as a tensor
    return isinstance(target, (Tensor, np.ndarray)) and target.ndim == ndim - 1 > 0


def describe_masks(dataset: Any, cfg: DataConfig) -> MaskInfo:
    """Find out what a dataset of masks is.

    Raises: DataError if its targets are labels, or it has no names of classes.
    """
    if not has_masks(dataset):
        raise DataError(
            "the training targets are labels, not masks: this dataset is for classification "
            "(cifar.py); for segmentation choose one of masks, for example data=canvas"
        )
    image = dataset[0][0]
    names = tuple(str(name) for name in getattr(dataset, "classes", ()))
    if cfg.num_classes is not None:
        names += tuple(str(label) for label in range(len(names), cfg.num_classes))
    if len(names) < 2:
        raise DataError(
            "a dataset of masks needs the names of its classes, in the order of the values in its "
            "masks: give it an attribute classes=['background', ...], or set data.num_classes"
        )
    channels = image.shape[0]
    mean = cfg.mean or getattr(dataset, "mean", None) or (0.5,) * channels
    std = cfg.std or getattr(dataset, "std", None) or (0.25,) * channels
    ignore = getattr(dataset, "ignore_index", None)
    return MaskInfo(tuple(image.shape), tuple(mean), tuple(std), names, ignore)


def wrong_mask(info: MaskInfo, target: Any) -> str | None:
    """What is wrong with a mask, in words that follow its image's name; None if it fits."""
    mask = torch.as_tensor(np.asarray(target))
    if mask.dtype.is_floating_point:
        return f"has a mask of {mask.dtype}: its values must be integers, the classes"
    sides = tuple(info.shape[1:])
    if mask.ndim != len(sides):
        return f"has a mask of shape {tuple(mask.shape)}; an image {info.shape} needs {sides}"
    return wrong_values(info, mask)


def wrong_values(info: MaskInfo, mask: Tensor) -> str | None:
    """The rule that the values of a mask break."""
    count, ignore = len(info.class_names), info.ignore_index
    wrong = (mask < 0) | (mask >= count)
    if ignore is not None:
        wrong &= mask != ignore
    if not wrong.any():
        return None
    but = "" if ignore is None else f", or {ignore} for pixels to be ignored"
    return (
        f"has the value {int(mask[wrong][0])} in its mask, but there are {count} classes: values "
        f"must be 0 to {count - 1}{but}"
    )


def mask_recipe(info: MaskInfo) -> Recipe:
    """Images and masks as they are stored, normalised."""
    return Recipe(
        prepare=prepare_mask,
        whole_batches=True,
        check=partial(check_masks, info),
        finish=partial(normalise, info.mean, info.std),
    )


def prepare_mask(image: Tensor, target: Any) -> tuple[Tensor, Tensor]:
    return image, torch.as_tensor(np.asarray(target)).long()


def check_masks(info: MaskInfo, masks: Tensor) -> tuple[int, str] | None:
    """The first mask of a batch with a value that is no class, and the rule; None if all fit."""
    if wrong_values(info, masks) is None:
        return None
    found = (wrong_values(info, mask) for mask in masks)
    return next((index, text) for index, text in enumerate(found) if text is not None)


def normalise(mean: Sequence[float], std: Sequence[float], images: Tensor, masks: Tensor) -> Batch:
    shape = (-1, *[1] * (images.ndim - 2))
    pixels = images.float() / 255 if images.dtype == torch.uint8 else images.float()
    return (pixels - torch.tensor(mean).reshape(shape)) / torch.tensor(std).reshape(shape), masks
