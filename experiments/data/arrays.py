"""Arrays of numpy as tensors, and which of the axes of an image holds its channels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from experiments.errors import DataError

MOST = 4  # channels by which an axis of an array is known: grey, alpha, three colours


def as_tensor(array: np.ndarray) -> Tensor:
    """An array of numbers as a tensor, without a copy where torch can share its memory.

    Raises: DataError for an array that holds no numbers that torch has.
    """
    native = array.astype(array.dtype.newbyteorder("="), copy=False)
    shared = native.flags.writeable and all(stride >= 0 for stride in native.strides)
    try:
        return torch.from_numpy(native if shared else native.copy())
    except TypeError as error:
        raise DataError(
            f"is an array of {array.dtype}, which holds no numbers that torch has: give uint8, "
            "uint16 or floats in [0, 1]"
        ) from error


def as_picture(array: np.ndarray) -> Tensor:
    """A picture of numpy, (H, W), (H, W, C) or (C, H, W), as a tensor (C, H, W).

    Raises: DataError where the shape does not tell which axis holds the channels.
    """
    if array.ndim == 2:
        return as_tensor(array)[None]
    last = _channels_last(array.shape)
    if last is None:
        raise DataError(f"is an array of shape {array.shape}, {_unclear('image')}")
    tensor = as_tensor(array)
    return tensor.permute(2, 0, 1).contiguous() if last else tensor


def pictures_of(images: Any, split: str) -> Tensor:
    """Many pictures in one array or tensor as a tensor (N, C, *S).

    Raises: DataError for another shape -> what to type.
    """
    shape, where = tuple(images.shape), f"the images of the {split} split have the shape"
    if len(shape) == 2:
        side = int(shape[1] ** 0.5)
        squares = f"images.reshape(-1, {side}, {side})" if side**2 == shape[1] else "(N, H, W)"
        raise DataError(f"{where} {shape}, rows of numbers: give {squares} if they are pictures")
    if len(shape) not in (3, 4, 5):
        raise DataError(f"{where} {shape}: give (N, C, H, W), uint8 or floats in [0, 1]")
    try:
        tensor = as_tensor(images) if isinstance(images, np.ndarray) else images
    except DataError as error:
        raise DataError(f"the images of the {split} split: one {error}") from error
    if len(shape) == 3:
        return tensor[:, None]
    if len(shape) == 5:  # volumes
        return tensor
    if isinstance(images, Tensor):
        if looks_turned(shape[1:]):
            raise DataError(f"{where} {shape}: give images.permute(0, 3, 1, 2), (N, C, H, W)")
        return tensor
    last = _channels_last(shape[1:])
    if last is None:
        raise DataError(f"{where} {shape}, {_unclear('images')}")
    return tensor.permute(0, 3, 1, 2).contiguous() if last else tensor


def looks_turned(shape: Sequence[int]) -> bool:
    """Whether a tensor is (H, W, C), where (C, H, W) is the rule: its last axis alone is short."""
    return len(shape) == 3 and _channels_last(shape) is True and min(shape[:2]) > shape[2]


def _channels_last(shape: Sequence[int]) -> bool | None:
    """Whether the channels of an array come last; None where both ends, or none, may be them."""
    first, _, last = shape
    if (first <= MOST) == (last <= MOST):
        return None
    return last <= MOST


def _unclear(what: str) -> str:
    first = "(C, H, W)" if what == "image" else "(N, C, H, W)"
    return (
        "which does not tell the axis of the channels: give a tensor "
        f"{first}, torch.from_numpy({what}) with its axes in this order"
    )
