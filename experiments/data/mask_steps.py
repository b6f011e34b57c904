"""Steps of transforms that an image and its mask take together, with the same draws."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil, hypot
from typing import Any

import torch
from torch import Tensor, nn
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from experiments.data.masks import BORDER
from experiments.data.resizing import fit
from models.description import Preprocessing, inscribed


class ClassMask(tv_tensors.Mask):
    """A mask of class indices: every resizing takes the pixel nearest to the centre.

    Of an ordinary Mask torchvision takes the pixel at the upper left end (NEAREST), which shifts it
    against its image by up to half a pixel.
    """


@v2.functional.register_kernel(F.resize, ClassMask)
def _resize(mask: Tensor, size: list[int], *args: Any, **kwargs: Any) -> Tensor:
    pixels = mask.as_subclass(Tensor)
    mode = v2.InterpolationMode.NEAREST_EXACT
    layers = pixels if pixels.ndim > 2 else pixels[None]
    resized = F.resize(layers, size, mode, kwargs.get("max_size"), antialias=False)
    return tv_tensors.wrap(resized if pixels.ndim > 2 else resized[0], like=mask)


@v2.functional.register_kernel(F.resized_crop, ClassMask)
def _resized_crop(
    mask: Tensor, top: int, left: int, height: int, width: int, size: list[int], **kwargs: Any
) -> Tensor:
    return _resize(F.crop(mask, top, left, height, width), size)


class MirroredRotation(v2.Transform):
    """A rotation by up to `degrees`; what turns into view is the mirrored picture and its mask.

    So no pixel is invented that no class belongs to. The image by bilinear interpolation, the mask
    by the nearest pixel.
    """

    def __init__(self, degrees: float) -> None:
        super().__init__()
        self.degrees = degrees

    def make_params(self, flat_inputs: list[Any]) -> dict[str, float]:
        return {"angle": float(torch.empty(()).uniform_(-self.degrees, self.degrees))}

    def transform(self, inpt: Tensor, params: dict[str, float]) -> Tensor:
        sides = list(inpt.shape[-2:])
        least = min(sides)
        border = min(ceil((hypot(*sides) - least) / 2) + 1, least - 1)
        wide = F.pad(inpt, [border] * 4, padding_mode="reflect")
        turned = F.rotate(wide, params["angle"], v2.InterpolationMode.BILINEAR)
        return F.center_crop(turned, sides)


class MirroredCrop(v2.Transform):
    """A cube cut at random out of a larger or equal one with `border` mirrored voxels around it."""

    def __init__(self, side: int, border: int) -> None:
        super().__init__()
        self.side, self.border = side, border

    def make_params(self, flat_inputs: list[Any]) -> dict[str, list[int]]:
        last = flat_inputs[0].shape[-1] - self.side + self.border
        return {"starts": torch.randint(-self.border, last + 1, (3,)).tolist()}

    def transform(self, inpt: Tensor, params: dict[str, list[int]]) -> Tensor:
        for axis, start in zip((-3, -2, -1), params["starts"], strict=True):
            last = inpt.shape[axis] - 1
            place = (torch.arange(self.side) + start).abs()
            inpt = inpt.index_select(axis, torch.minimum(place, 2 * last - place))
        return inpt


class OnImage(nn.Module):
    """Apply a change of colours to the image alone."""

    def __init__(self, change: Callable[[Any], Any]) -> None:
        super().__init__()
        self.change = change

    def forward(self, image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        return self.change(image.as_subclass(Tensor)), mask


class MoveBoth(nn.Module):
    """Apply a change of places to both, with the same draws."""

    def __init__(self, change: Callable[..., Any]) -> None:
        super().__init__()
        self.change = change

    def forward(self, image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        moved, with_it = self.change(tv_tensors.Image(image), mask.as_subclass(ClassMask))
        return moved.as_subclass(Tensor), with_it.as_subclass(Tensor)


class Stretch(nn.Module):
    """Bring an image and its mask to one size, whatever their shape: nothing is cut off."""

    def __init__(self, sides: tuple[int, ...], interpolation: str) -> None:
        super().__init__()
        self.sides = tuple(sides)
        self.resize = MoveBoth(v2.Resize(list(sides), v2.InterpolationMode(interpolation)))

    def forward(self, image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        both: tuple[Tensor, Tensor] = (image, mask)
        return both if tuple(image.shape[-2:]) == self.sides else self.resize(image, mask)


class InscribeBoth(nn.Module):
    """Inscribe an image and its mask, their shape kept: around the image is the mean, around the
    mask BORDER."""

    def __init__(self, rule: Preprocessing) -> None:
        super().__init__()
        self.sides, self.image = rule.sides, fit(rule)

    def forward(self, image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        height, width = mask.shape[-2:]
        if (height, width) == self.sides:
            return image, mask
        size, (rows, columns) = inscribed((height, width), self.sides)
        whole = mask.new_full((*mask.shape[:-2], *self.sides), BORDER, dtype=torch.int64)
        whole[..., rows, columns] = F.resize(mask.as_subclass(ClassMask), size).as_subclass(Tensor)
        return self.image(image), whole
