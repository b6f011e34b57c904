"""How an image is brought to its size: for evaluation by a rule, in training at random too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from timm.data.transforms import RandomCropOrPad, ResizeKeepRatio
from torch import Tensor, nn
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from experiments.config.augment import AugmentConfig
from experiments.data.info import ImageInfo
from experiments.errors import ConfigError
from models.description import Preprocessing, inscribed, pair_of

ASPECT = (3 / 4, 4 / 3)  # width / height of random resized crops, as published
STRETCH = (0.9, 1 / 0.9)  # the same of crop=keep_ratio, in timm


class Cover(nn.Module):
    """Resize to the least that covers (height, width), the shape kept. Shape: (..., C, H, W)."""

    def __init__(self, sides: tuple[int, int], mode: v2.InterpolationMode) -> None:
        super().__init__()
        self.sides, self.mode = sides, mode

    def forward(self, image: Tensor) -> Tensor:
        (height, width), (h, w) = self.sides, image.shape[-2:]
        scale = max(height / h, width / w)
        size = [max(round(h * scale), height), max(round(w * scale), width)]
        return F.resize(image, size, self.mode)


class Inscribe(nn.Module):
    """Resize to the most that (height, width) holds, the shape kept, with `fill` around it.

    fill: per channel, in [0, 1].
    """

    def __init__(
        self, sides: tuple[int, int], mode: v2.InterpolationMode, fill: tuple[float, ...]
    ) -> None:
        super().__init__()
        self.sides, self.mode, self.fill = sides, mode, fill

    def forward(self, image: Tensor) -> Tensor:
        size, (rows, columns) = inscribed(pair_of(image.shape[-2:]), self.sides)
        image = F.resize(image, size, self.mode)
        fill = torch.tensor(self.fill).to(image.dtype)
        if image.dtype == torch.uint8:
            fill = (torch.tensor(self.fill) * 255).round().to(torch.uint8)
        whole = fill[:, None, None].expand(*image.shape[:-2], *self.sides).clone()
        whole[..., rows, columns] = image
        return whole


class Fit(nn.Module):
    """What evaluation does, unless the image has the size already."""

    def __init__(self, sides: tuple[int, int], change: nn.Module) -> None:
        super().__init__()
        self.sides, self.change = sides, change

    def forward(self, image: Tensor) -> Tensor:
        return image if tuple(image.shape[-2:]) == self.sides else self.change(image)


def fit(rule: Preprocessing) -> nn.Module:
    """Return what evaluation does, by the rule of Preprocessing: crop, pad or squash."""
    mode = v2.InterpolationMode(rule.interpolation)
    if rule.pad:
        return Fit(rule.sides, Inscribe(rule.sides, mode, rule.mean))
    if rule.stretch:
        return Fit(rule.sides, v2.Resize(list(rule.sides), mode))
    resize = v2.Resize(rule.resize, mode) if isinstance(rule.resize, int) else None
    steps = v2.Compose([resize or Cover(pair_of(rule.resize), mode), v2.CenterCrop(rule.sides)])
    return Fit(rule.sides, steps) if rule.resize == rule.size else steps


def in_training(cfg: AugmentConfig, info: ImageInfo) -> ImageInfo:
    """The images as training is given them: squares or cubes of augment.size, where it has one.

    Raises: ConfigError for a window that is larger than the images out of which it is cut.
    """
    if cfg.size is None:
        return info
    least = min(info.sides)
    if cfg.size > least and cfg.crop == "none" and not cfg.random_resized_crop:
        larger = ", or augment.random_resized_crop=0.35, which enlarges" if info.ndim == 2 else ""
        raise ConfigError(
            f"augment.size={cfg.size}: no window of that side can be cut out of images of "
            f"{' x '.join(map(str, info.sides))}; type augment.size={least} or less{larger}"
        )
    return replace(info, image_size=cfg.size)


def random_size(cfg: AugmentConfig, info: ImageInfo) -> list[Callable[[Any], Any]]:
    """Return what brings an image to its size at random; nothing where augment names no such crop.

    random_resized_crop: an area of random_resized_crop to 1 of the image's and of an aspect
    between 3/4 and 4/3, resized. simple: the shorter side resized, then a random square of the
    image padded by crop_padding. keep_ratio: the shorter side resized, of half of the
    images to more, so that the square is an area of crop_area to 1 of it; half are also stretched,
    by 0.9 to 1/0.9; then a random square. augment.aspect replaces the ranges of aspects.

    Raises: ConfigError for padding not smaller than the image.
    Source: Inception's crop; arXiv 2204.07118, section 3; timm's `rkrr`.
    """
    side, mode = _side_of(cfg, info), cfg.interpolation or "bilinear"
    if area := cfg.random_resized_crop:
        ratio = tuple(cfg.aspect or ASPECT)
        scale = (area, 1.0)
        return [drawn(lambda m: v2.RandomResizedCrop(side, scale, ratio, interpolation=m), mode)]
    if cfg.crop == "simple":
        crop = v2.RandomCrop(side, padding(cfg, info.sides) or None, padding_mode="reflect")
        return [drawn(lambda m: v2.Resize(side, m), mode), crop]
    if cfg.crop == "keep_ratio":
        resize = ResizeKeepRatio(
            side,
            interpolation=mode,
            random_scale_prob=0.5,
            random_scale_range=(cfg.crop_area, 1.0),
            random_scale_area=True,
            random_aspect_prob=0.5,
            random_aspect_range=tuple(cfg.aspect or STRETCH),
        )
        return [resize, RandomCropOrPad(side, padding_mode="reflect")]
    return []


def _side_of(cfg: AugmentConfig, info: ImageInfo) -> Any:
    """The size of random crops. Raises: ConfigError for those that are squares by their rule."""
    if isinstance(info.image_size, int) or cfg.crop == "none" or cfg.random_resized_crop:
        return info.image_size
    raise ConfigError(
        f"augment.crop={cfg.crop}: crops squares, and data.image_size={list(info.image_size)} is "
        "none; type augment.random_resized_crop=0.35 augment.crop=none"
    )


def padding(cfg: AugmentConfig, sides: tuple[int, ...]) -> int:
    """augment.crop_padding. Raises: ConfigError if it is not smaller than the image."""
    side = min(sides)
    if cfg.crop_padding >= side:
        raise ConfigError(
            f"augment.crop_padding={cfg.crop_padding}: reflection needs less than the side of the "
            f"image, {side}; use at most {side - 1}"
        )
    return cfg.crop_padding


def drawn(make: Callable[[v2.InterpolationMode], nn.Module], interpolation: str) -> nn.Module:
    """Return the transform with this interpolation; of `random`, one of two at each image."""
    if interpolation != "random":
        return make(v2.InterpolationMode(interpolation))
    modes = (v2.InterpolationMode.BILINEAR, v2.InterpolationMode.BICUBIC)
    return v2.RandomChoice([make(mode) for mode in modes])
