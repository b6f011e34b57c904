"""What a trained network must be shown: any image in, the pixels out that its test split saw."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from experiments.data.file_images import in_words_of
from experiments.data.images import admit_image, open_image
from experiments.data.pixels import to_tensor
from experiments.data.transforms import transform_of
from experiments.errors import ConfigError, DataError
from models.description import Description

REMEDY = "replace or delete it"


class ImageTransform:
    """An image as the network must be shown it: (crop(resize(pixel in [0, 1])) - mean) / std.

    It takes a path, a PIL image, an array (H, W) or (H, W, C), or a tensor (C, H, W); pixels are
    uint8, uint16 or floats in [0, 1]. It is the transform of validation and test, by the rule that
    the network's description holds.

    Shapes: -> (input_channels, *size) float32.
    Raises: DataError for what is no such image, or cannot be decoded; ConfigError for a network
        whose inputs are no images.
    """

    def __init__(self, description: Description) -> None:
        self.rule, self.channels = description.preprocessing, description.input_channels
        self.shape = description.input_shape
        self._pipeline = None if self.rule is None else transform_of(self.rule, self.channels)

    def __call__(self, image: Any) -> Tensor:
        return self.prepare(self.admit(image))

    def admit(self, image: Any) -> Image.Image | Tensor:
        """The image at its own size, turned as its EXIF tag says and on its background."""
        self.require_images()
        if not isinstance(image, (str, Path)):
            return self._admit(image, f"the {type(image).__name__} given")
        with in_words_of(lambda: str(image), REMEDY):
            return self._admit(open_image(image), "")

    def require_images(self) -> None:
        """Refuse a network whose inputs are no images. Raises: ConfigError."""
        if self.rule is None:
            shape = ", ".join(map(str, self.shape))
            raise ConfigError(
                f"the network takes tensors ({shape}), no pictures: call model(inputs) with a "
                "batch of them, prepared as the data of its run were"
            )

    def prepare(self, admitted: Image.Image | Tensor) -> Tensor:
        """An admitted image as the input of the network."""
        assert self._pipeline is not None
        return self._pipeline(admitted)

    def _admit(self, image: Any, where: str) -> Image.Image | Tensor:
        assert self.rule is not None
        try:
            found = admit_image(_as_tensor(image), self.rule.alpha)
        except DataError as error:
            raise DataError(f"{where} {error}".strip()) from error
        if isinstance(found, Image.Image) or (isinstance(found, Tensor) and found.ndim == 3):
            return found
        given = f" of shape {tuple(found.shape)}" if isinstance(found, Tensor) else ""
        raise DataError(
            f"{where}{given} is no image: give a path, a PIL image, an array (H, W) or (H, W, C), "
            "or a tensor (C, H, W)"
        )


def _as_tensor(image: Any) -> Any:
    """An array with its channels first; what is none as it is."""
    if not isinstance(image, np.ndarray):
        return image
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] > 4):
        raise DataError(
            f"is an array of shape {image.shape}: its axes must be (H, W) or (H, W, C) with up to "
            "4 channels; give torch.from_numpy(array) if they are (C, H, W)"
        )
    if image.dtype.kind not in "buif":
        raise DataError(f"is an array of {image.dtype}: pixels are uint8, uint16 or floats")
    array = image[None] if image.ndim == 2 else np.moveaxis(image, 2, 0)
    return torch.from_numpy(np.ascontiguousarray(array))


def sides_of(admitted: Image.Image | Tensor) -> tuple[int, int]:
    """(height, width) of an admitted image."""
    if isinstance(admitted, Image.Image):
        return admitted.height, admitted.width
    height, width = admitted.shape[-2:]
    return height, width


def picture_of(admitted: Image.Image | Tensor) -> Image.Image:
    """An admitted image in colours of 8 bits, to be looked at."""
    if isinstance(admitted, Image.Image):
        return admitted.convert("RGB")
    channels = admitted[:3] if len(admitted) >= 3 else admitted[:1]
    return F.to_pil_image(to_tensor(channels, 3, torch.uint8))
