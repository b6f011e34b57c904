"""What a trained network must be shown: any image in, the pixels out that its test split saw."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from experiments.data.file_images import in_words_of
from experiments.data.images import admit_image, open_image
from experiments.data.listing import EXTENSIONS
from experiments.data.pixels import to_tensor
from experiments.data.transforms import transform_of
from experiments.data.volumes import is_volume
from experiments.errors import ConfigError, DataError
from experiments.files import atomic_path
from experiments.tasks.answers import Answers
from experiments.usage.standalone import IMAGE_PROGRAM
from models.description import Description

REMEDY = "replace or delete it"


class Transform(ABC):
    """What people have -> the input of a network, and the network's answer to it -> files.

    What is given (a path, or the thing itself) is admitted at its own size, and then prepared.

    Attributes:
        what: the word for one such thing.
        extensions: what the names of files end in that it reads.
        at_once: how many go through a network together unless somebody says otherwise.
        program: the text of the program that runs an exported network on such things.
    """

    what: ClassVar[str]
    extensions: ClassVar[tuple[str, ...]]
    at_once: ClassVar[int]
    program: ClassVar[str]

    def __init__(self, description: Description) -> None:
        self.rule, self.channels = description.preprocessing, description.input_channels
        self.shape = description.input_shape

    def __call__(self, given: Any) -> Tensor:
        return self.prepare(self.admit(given))

    def require_rule(self) -> None:
        """Refuse a network that nobody has told how its inputs are made. Raises: ConfigError."""
        if self.rule is None:
            shape = ", ".join(map(str, self.shape))
            raise ConfigError(
                f"the network takes tensors ({shape}), no pictures: call model(inputs) with a "
                "batch of them, prepared as the data of its run were"
            )

    @abstractmethod
    def admit(self, given: Any) -> Any:
        """What is given, at its own size. Raises: DataError."""

    @abstractmethod
    def prepare(self, admitted: Any) -> Tensor:
        """What was admitted as the input of the network."""

    @abstractmethod
    def picture(self, admitted: Any) -> Image.Image:
        """What was admitted, in colours of 8 bits, to be looked at."""

    def inside(self, answers: Answers, admitted: Any, output: Tensor) -> Tensor:
        """What an output says of what was admitted, without what `prepare` has put around it."""
        return output

    def maps(self, admitted: Any, output: Tensor) -> Tensor:
        """The output for it, where that is maps: those of the picture."""
        return output

    def draw(self, answers: Answers, admitted: Any, output: Tensor) -> Image.Image:
        """The picture, with what the network has found in it."""
        return answers.picture(self.picture(admitted), self.maps(admitted, output))

    def write(self, answers: Answers, admitted: Any, output: Tensor, place: Path) -> list[Path]:
        """Write the files of an answer as place_WORD.SUFFIX, by the words of answers.written;
        return their paths. Raises: OSError."""
        pictures = answers.files(self.picture(admitted), self.maps(admitted, output))
        return [save_picture(picture, place, word) for word, picture in pictures.items()]


class ImageTransform(Transform):
    """An image as the network must be shown it: (crop(resize(pixel in [0, 1])) - mean) / std.

    It takes a path, a PIL image, an array (H, W) or (H, W, C), or a tensor (C, H, W); pixels are
    uint8, uint16 or floats in [0, 1]. It is the transform of validation and test, by the rule that
    the network's description holds.

    Shapes: -> (input_channels, *size) float32.
    Raises: DataError for what is no such image, or cannot be decoded; ConfigError for a network
        whose inputs are no images.
    """

    what, extensions, at_once = "image", EXTENSIONS, 64
    program = IMAGE_PROGRAM

    def __init__(self, description: Description) -> None:
        super().__init__(description)
        self._pipeline = None if self.rule is None else transform_of(self.rule, self.channels)

    def admit(self, given: Any) -> Image.Image | Tensor:
        """The image at its own size, turned as its EXIF tag says and on its background."""
        self.require_rule()
        if not isinstance(given, (str, Path)):
            return self._admit(given, f"the {type(given).__name__} given")
        if is_volume(given):
            raise DataError(
                f"{given} holds a volume or an array, and the network takes images "
                f"{tuple(self.shape)}: give a picture ({', '.join(EXTENSIONS)}), or an array "
                "(H, W) or (H, W, C) to run.transform(array)"
            )
        with in_words_of(lambda: str(given), REMEDY):
            return self._admit(open_image(given), "")

    def prepare(self, admitted: Image.Image | Tensor) -> Tensor:
        assert self._pipeline is not None
        return self._pipeline(admitted)

    def inside(self, answers: Answers, admitted: Image.Image | Tensor, output: Tensor) -> Tensor:
        return answers.inside(output, _sides_of(admitted))

    def picture(self, admitted: Image.Image | Tensor) -> Image.Image:
        return picture_of(admitted)

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


def _sides_of(admitted: Image.Image | Tensor) -> tuple[int, int]:
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


def save_picture(picture: Image.Image, place: Path, word: str) -> Path:
    """Write a picture as place_WORD.png; return its path. Raises: OSError."""
    path = place.with_name(f"{place.name}_{word}.png")
    with atomic_path(path) as temporary:
        picture.save(temporary)
    return path
