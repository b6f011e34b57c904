"""Transforms of an image and its mask together, and the recipe that loaders follow for both."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from math import ceil, hypot
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import default_collate
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from experiments.config.augment import AugmentConfig
from experiments.data.info import ImageInfo
from experiments.data.masks import class_mask, require_same_size, wrong_label
from experiments.data.recipe import Batch, Recipe
from experiments.data.resizing import padding, random_size
from experiments.data.transforms import (
    ToChannels,
    colours,
    erases_normalised,
    erasing,
    flips,
    moves,
    normalise,
)
from experiments.errors import ConfigError, DataError

LONGEST = 2.5  # times the shorter side, up to which mirrored images fill any turn


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
    """A random cut of the size of a volume out of it with `border` mirrored voxels around it."""

    def __init__(self, border: int) -> None:
        super().__init__()
        self.border = border

    def make_params(self, flat_inputs: list[Any]) -> dict[str, list[int]]:
        shifts = torch.randint(-self.border, self.border + 1, (3,))
        return {"shifts": shifts.tolist()}

    def transform(self, inpt: Tensor, params: dict[str, list[int]]) -> Tensor:
        for axis, shift in zip((-3, -2, -1), params["shifts"], strict=True):
            side = inpt.shape[axis]
            place = (torch.arange(side) + shift).abs()
            inpt = inpt.index_select(axis, torch.minimum(place, 2 * (side - 1) - place))
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


@dataclass(frozen=True)
class PairPipeline:
    """What happens to an image and its mask; `steps` take both, and a batch if not `random`."""

    info: ImageInfo
    channels: ToChannels
    steps: tuple[nn.Module, ...]
    normalise: nn.Module
    random: bool

    def __call__(self, image: Any, mask: Any) -> tuple[Tensor, Tensor]:
        """Return (image, mask) of info.image_size. Shapes: (..., C, *S), (..., *S)."""
        mask = class_mask(mask)
        if self.info.ndim == 2:
            if not (isinstance(image, Tensor) and image.ndim == 4):  # a batch was looked at
                require_same_size(image, mask)
            image = self.channels(image)
        else:
            self._require_cube(image, mask)
        for step in self.steps:
            image, mask = step(image, mask)
        return image, mask

    def _require_cube(self, image: Tensor, mask: Tensor) -> None:
        side = self.info.sides
        if tuple(image.shape[-3:]) != side or tuple(mask.shape[-3:]) != side:
            raise DataError(
                f"is a volume of {tuple(image.shape[-3:])} with a mask of {tuple(mask.shape[-3:])}:"
                f" volumes are not resized, give both as {side}"
            )


def build_pair_transform(info: ImageInfo, augment: AugmentConfig | None = None) -> PairPipeline:
    """Return what evaluation does to an image and its mask, or with augment training.

    Evaluation stretches both to info.image_size (data.resize is squash for masks). Training changes
    places (random size, padded crop, flips, quarter turn, rotation) of both with the same draws,
    and colours (jitter, policy=three_augment, erasing) of the image alone, in the order of
    build_train_transform. Masks
    are resized and turned by the nearest pixel. What padding and rotation bring into view is the
    mirrored picture with its mirrored mask, so it has true classes. Volumes are flipped (left to
    right and top to bottom) and cut after padding; they are never resized.

    Raises: ConfigError for a part of augment that cannot move a mask, or volumes.
    """
    change = AugmentConfig() if augment is None else augment
    _refuse(change, info.ndim, info.sides)
    if info.ndim == 3:
        sized: list[Callable[..., Any]] = []
        first: list[nn.Module] = []
        moved = list(_volume_moves(change, info.sides))
    else:
        sized = random_size(change, info)
        first = [] if sized else [Stretch(info.sides, info.interpolation)]
        moved = list(moves(change, info.sides, MirroredRotation))
    places: list[Callable[..., Any]] = [*sized, *moved]
    pixels: list[Callable[..., Any]] = [*colours(change, info), *erasing(change, info)]
    draws = [*map(MoveBoth, places), *map(OnImage, pixels)]
    last = nn.Identity() if erases_normalised(change) else normalise(info)
    channels = ToChannels(info.channels, change.policy != "none")
    return PairPipeline(info, channels, (*first, *draws), last, bool(draws))


def mask_recipe(info: ImageInfo, augment: AugmentConfig | None = None) -> Recipe:
    """Images with masks, for evaluation or, with augment, for training.

    Shapes: images (B, C, *S) float32, masks (B, *S) int64.
    """
    pipeline = build_pair_transform(info, augment)
    return Recipe(
        prepare=pipeline,
        whole_batches=not pipeline.random,
        collate=stack_pairs,
        check=partial(check_masks, len(info.class_names), info.ignore_index),
        finish=FinishPairs(pipeline),
    )


@dataclass(frozen=True)
class FinishPairs:
    """Normalised images, and masks as int64."""

    pipeline: PairPipeline

    def __call__(self, images: Tensor, masks: Tensor) -> Batch:
        return normalised(self.pipeline.normalise, images), masks.long()


def normalised(normalise: nn.Module, images: Tensor) -> Tensor:
    """(pixel in [0, 1] - mean) / std of images or volumes. Shape: (B, C, *S) float32."""
    flat = images.flatten(2, -2) if images.ndim == 5 else images  # v2 takes volumes for videos
    result: Tensor = normalise(flat)
    return result.reshape(images.shape)


def stack_pairs(samples: list[tuple[Tensor, Tensor]]) -> Batch:
    """Images (B, C, *S) and masks (B, *S); of several types of pixels or masks, all in one."""
    images, masks = zip(*samples, strict=True)
    if len({image.dtype for image in images}) > 1:
        images = tuple(F.to_dtype(image, torch.float32, scale=True) for image in images)
    if len({mask.dtype for mask in masks}) > 1:
        masks = tuple(mask.long() for mask in masks)
    batch: Batch = default_collate(list(zip(images, masks, strict=True)))
    return batch


def check_masks(
    num_classes: int, ignore_index: int | None, masks: Tensor
) -> tuple[int, str] | None:
    """The first mask with a value that is no class, and the rule; None if all are classes."""
    if wrong_label(masks, num_classes, ignore_index) is None:
        return None
    wrongs = [wrong_label(mask, num_classes, ignore_index) for mask in masks]
    return next((i, wrong) for i, wrong in enumerate(wrongs) if wrong is not None)


# ------------------------------------------------------------------------------------- which parts
def _volume_moves(cfg: AugmentConfig, sides: tuple[int, ...]) -> Iterator[nn.Module]:
    if cfg.crop_padding:
        yield MirroredCrop(padding(cfg, sides))
    yield from flips(cfg)


def _refuse(cfg: AugmentConfig, ndim: int, sides: tuple[int, ...]) -> None:
    """Raise ConfigError for what has no meaning for masks, or for volumes."""
    off = AugmentConfig()
    no_masks = "masks are classes of pixels, which cannot be mixed"
    rules = [
        (bool(cfg.mixup), "mixup", no_masks),
        (bool(cfg.cutmix), "cutmix", no_masks),
        (cfg.crop == "keep_ratio", "crop", "it does not move masks; use random_resized_crop"),
        (
            cfg.policy not in ("none", "three_augment"),
            "policy",
            "it may move pixels without their masks; use flips, rot90, rotation and colour_jitter, "
            "or three_augment",
        ),
    ]
    if max(sides) > LONGEST * min(sides):
        long = (
            f"mirrored images do not fill what turns into view of {sides[0]} x {sides[1]} (H x W)"
        )
        rules.append((bool(cfg.rotation), "rotation", long))
    if ndim == 3:
        flat = ("random_resized_crop", "crop", "rot90", "rotation", "policy", "colour_jitter")
        rules += [
            (getattr(cfg, key) != getattr(off, key), key, "volumes are flipped and cropped only")
            for key in (*flat, "erasing")
        ]
    for broken, key, why in rules:
        if broken:
            value, none = (_text(getattr(each, key)) for each in (cfg, off))
            raise ConfigError(f"augment.{key}={value} with masks: {why}; type augment.{key}={none}")


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value}"
