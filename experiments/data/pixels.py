"""From an admitted image to a tensor with the wanted channels."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from experiments.data.images import ALPHA_MODES, GREY_MODES
from experiments.errors import DataError

_SWAPPED = "; if it is the label, the two are swapped: the image comes first"
_WAYS = {
    **dict.fromkeys(("int", "str_", "int64"), _SWAPPED),
    "str": "; give Image.open(image) of PIL if it is the path of one",
    "PosixPath": "; give Image.open(image) of PIL",
    "WindowsPath": "; give Image.open(image) of PIL",
    "bytes": "; give Image.open(io.BytesIO(image)) of PIL if it is an encoded image",
    "dict": "; give Image.open(image['path']), or let the dataset decode its images",
    "list": "; give numpy.asarray(image), with its type and range",
}
_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}  # of PIL images, by channels


def channels_of(image: Any, where: str = "an image", ndim: int = 2) -> int:
    """Return the channels of an image: of PIL images grey (1) or colour (3), and one for alpha.

    ndim: 3 for volumes, tensors (C, D, H, W).

    Raises: DataError for what is neither a tensor (C, H, W) nor a PIL image.
    """
    if isinstance(image, Tensor) and image.ndim == ndim + 1:
        return image.shape[0]
    if isinstance(image, Image.Image) and ndim == 2:
        return (1 if image.mode in GREY_MODES else 3) + (image.mode in ALPHA_MODES)
    given = f"a tensor of shape {tuple(image.shape)}" if isinstance(image, Tensor) else _word(image)
    if ndim == 3:
        given = f"an array of shape {image.shape}" if isinstance(image, np.ndarray) else given
        way = "; give volume[None] if its axes are (D, H, W)" if hasattr(image, "shape") else ""
        raise DataError(
            f"{where} is {given}: of a dataset with ndim = 3 the items are (volume, mask) with the "
            f"volume a tensor or an array (C, D, H, W), uint8, uint16 or float in [0, 1]{way}"
        )
    way = _WAYS.get(type(image).__name__, "")
    if isinstance(image, Tensor) and image.ndim == 2:
        way = "; give image[None] if its axes are (H, W)"
    if isinstance(image, np.ndarray):
        given = f"an array of shape {image.shape} ({image.dtype})"
        turn = {2: "[None]", 3: ".permute(2, 0, 1)"}.get(image.ndim)
        if turn is not None:
            axes = "(H, W)" if image.ndim == 2 else "(H, W, C)"
            way = f"; give torch.from_numpy(image){turn} if its axes are {axes}"
    raise DataError(
        f"{where} is {given}: a dataset must give (image, label) with the image a tensor "
        f"(C, H, W), uint8 or float in [0, 1], or a PIL image{way}"
    )


def _word(thing: Any) -> str:
    return f"of type {type(thing).__name__}"


def _from_pil(image: Image.Image, channels: int, where: str) -> Tensor:
    stored = channels_of(image)
    if channels not in _MODES or (channels % 2 == 0) != (stored % 2 == 0):
        hint = " (data.alpha=white leaves out the channel of alpha)" if stored % 2 == 0 else ""
        raise _impossible(channels, stored, where, hint)
    mode = _MODES[channels]
    return F.pil_to_tensor(image if image.mode == mode else image.convert(mode))


def to_tensor(
    image: Any, channels: int, dtype: torch.dtype | None = None, where: str = "an image"
) -> Tensor:
    """Return an image as a tensor of `channels`: grey is repeated, colour weighted to grey.

    Shapes: PIL image or (..., C, H, W) -> (..., channels, H, W). Units: uint8 in [0, 255], floats
    in [0, 1]; kept unless dtype is given.

    Raises: DataError if the channels can be neither kept, repeated (1 to 3) nor weighted (3 to 1).
    """
    tensor = _from_pil(image, channels, where) if isinstance(image, Image.Image) else image
    stored = tensor.shape[-3]
    if stored != channels:
        if (stored, channels) not in ((1, 3), (3, 1)):
            raise _impossible(channels, stored, where)
        tensor = F.grayscale_to_rgb(tensor) if channels == 3 else F.rgb_to_grayscale(tensor)
    if dtype is not None and dtype != tensor.dtype:
        tensor = F.to_dtype(tensor, dtype, scale=True)
    return tensor


def _impossible(channels: int, stored: int, where: str, hint: str = "") -> DataError:
    return DataError(
        f"data.channels={channels}: {where} has {stored} channel(s); only 1 and 3 can be "
        f"turned into one another; use data.channels={stored} or null{hint}"
    )
