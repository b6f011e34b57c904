"""From any image a dataset may give to a tensor with the wanted channels."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from experiments.errors import DataError

_GREY_MODES = ("1", "L", "LA", "La")


def channels_of(image: Any, where: str = "an image") -> int:
    """Return the channels stored in an image; PIL images count as grey (1) or colour (3).

    Raises: DataError for what is neither a tensor (C, H, W) nor a PIL image.
    """
    if isinstance(image, Tensor) and image.ndim == 3:
        return image.shape[0]
    if isinstance(image, Image.Image):
        return 1 if image.mode in _GREY_MODES or image.mode.startswith("I;16") else 3
    given = f"a tensor of shape {tuple(image.shape)}" if isinstance(image, Tensor) else type(image)
    raise DataError(
        f"{where} is {given}: a dataset must give (image, label) with the image a tensor "
        "(C, H, W), uint8 or float in [0, 1], or a PIL image"
    )


def _from_pil(image: Image.Image, channels: int, where: str) -> Tensor:
    if image.mode in ("I", "F"):
        raise DataError(
            f"{where} has 32-bit pixels (mode {image.mode}), whose range is not known: "
            "save it with 8 or 16 bits per channel"
        )
    if image.mode.startswith("I;16"):  # Pillow's own conversion clips at 255 instead of scaling
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    mode = "L" if channels == 1 else "RGB"
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
            raise DataError(
                f"data.channels={channels}: {where} has {stored} channel(s); only 1 and 3 can be "
                f"turned into one another; use data.channels={stored} or null"
            )
        tensor = F.grayscale_to_rgb(tensor) if channels == 3 else F.rgb_to_grayscale(tensor)
    if dtype is not None and dtype != tensor.dtype:
        tensor = F.to_dtype(tensor, dtype, scale=True)
    return tensor
