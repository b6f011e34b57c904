"""Transforms of an image and its mask together, and the recipe that loaders follow for both."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import default_collate
from torchvision.transforms.v2 import functional as F

from experiments.config.augment import AugmentConfig
from experiments.data.info import ImageInfo
from experiments.data.mask_steps import (
    InscribeBoth,
    MirroredCrop,
    MirroredRotation,
    MoveBoth,
    OnImage,
    Stretch,
)
from experiments.data.masks import BORDER, check_masks, class_mask, require_same_size
from experiments.data.recipe import Batch, Recipe
from experiments.data.resizing import in_training, padding, random_size
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


@dataclass(frozen=True)
class PairPipeline:
    """What happens to an image and its mask; `steps` take both, and a batch if not `random`."""

    info: ImageInfo
    channels: ToChannels
    steps: tuple[nn.Module, ...]
    normalise: nn.Module
    random: bool

    def __call__(self, image: Any, mask: Any) -> tuple[Tensor, Tensor]:
        """Return (image, mask), of augment.size in training. Shapes: (..., C, *S), (..., *S)."""
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

    Evaluation stretches both to info.image_size, whatever their shape; with data.resize=pad it
    keeps their shape, and pixels around the mask are BORDER, of no class. Training changes places
    (random size, padded crop, flips, quarter turn, rotation) of both with the same draws, and
    colours (jitter, policy=three_augment, erasing) of the image alone, in the order of
    build_train_transform. Masks are resized and turned by the nearest pixel. What padding and
    rotation bring into view is the mirrored picture with its mirrored mask, so it has true classes,
    or a border where that has one. Volumes are flipped (left to right and top to bottom) and cut
    after padding; they are never resized. augment.size is the side of random crops; without one, of
    the window or cube that is cut after padding.

    Raises: ConfigError for a part of augment that cannot move a mask, or volumes.
    """
    change = AugmentConfig() if augment is None else augment
    trained = in_training(change, info)
    _refuse(change, info.ndim, trained.sides)
    if info.ndim == 3:
        sized: list[Callable[..., Any]] = []
        first: list[nn.Module] = []
        moved = list(_volume_moves(change, info.sides, trained.sides))
    else:
        sized = random_size(change, trained)
        first = [] if sized else [_whole(info)]
        given = trained.sides if sized else info.sides
        moved = list(moves(change, given, trained.sides, MirroredRotation))
    places: list[Callable[..., Any]] = [*sized, *moved]
    pixels: list[Callable[..., Any]] = [*colours(change, trained), *erasing(change, trained)]
    draws = [*map(MoveBoth, places), *map(OnImage, pixels)]
    last = nn.Identity() if erases_normalised(change) else normalise(info)
    channels = ToChannels(info.channels, change.policy != "none")
    return PairPipeline(info, channels, (*first, *draws), last, bool(draws))


def _whole(info: ImageInfo) -> nn.Module:
    """What brings all of an image to its size."""
    rule = info.preprocessing
    return InscribeBoth(rule) if rule.pad else Stretch(info.sides, info.interpolation)


def mask_recipe(info: ImageInfo, augment: AugmentConfig | None = None) -> Recipe:
    """Images with masks, for evaluation or, with augment, for training.

    Shapes: images (B, C, *S) float32, masks (B, *S) int64, of classes and info.batch_ignore_index.
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
    """Normalised images, and masks as int64, whose border is ignored."""

    pipeline: PairPipeline

    def __call__(self, images: Tensor, masks: Tensor) -> Batch:
        if masks.dtype != torch.uint8:
            masks = masks.where(masks != BORDER, self.pipeline.info.batch_ignore_index)
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


# ------------------------------------------------------------------------------------- which parts
def _volume_moves(
    cfg: AugmentConfig, given: tuple[int, ...], sides: tuple[int, ...]
) -> Iterator[nn.Module]:
    if cfg.crop_padding or sides != given:
        yield MirroredCrop(sides[0], padding(cfg, given))
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
