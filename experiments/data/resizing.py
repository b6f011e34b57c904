"""How an image is brought to its size: for evaluation by a rule, in training at random too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from timm.data.transforms import RandomCropOrPad, ResizeKeepRatio
from torch import Tensor, nn
from torchvision.transforms import v2

from experiments.config.augment import AugmentConfig
from experiments.data.info import ImageInfo
from experiments.errors import ConfigError
from models.description import Preprocessing

ASPECT = (3 / 4, 4 / 3)  # width / height of random resized crops, as published
STRETCH = (0.9, 1 / 0.9)  # the same of crop=keep_ratio, in timm


class Fit(nn.Module):
    """Resize the shorter side and crop the centre, unless the image has the size already."""

    def __init__(self, rule: Preprocessing) -> None:
        super().__init__()
        self.side = rule.size
        self.fit = v2.Compose([_resize(rule), v2.CenterCrop(rule.size)])

    def forward(self, image: Tensor) -> Tensor:
        return image if image.shape[-2:] == (self.side, self.side) else self.fit(image)


class Stretched(nn.Module):
    """Bring both sides to one, whatever the shape, unless the image has them already."""

    def __init__(self, rule: Preprocessing) -> None:
        super().__init__()
        self.side = rule.size
        mode = v2.InterpolationMode(rule.interpolation)
        self.resize = v2.Resize([rule.size, rule.size], mode)

    def forward(self, image: Tensor) -> Tensor:
        return image if image.shape[-2:] == (self.side, self.side) else self.resize(image)


def fit(rule: Preprocessing) -> nn.Module:
    """Return what evaluation does: resize the shorter side and crop the centre, or stretch."""
    if rule.stretch:
        return Stretched(rule)
    if rule.resize == rule.size:
        return Fit(rule)
    return v2.Compose([_resize(rule), v2.CenterCrop(rule.size)])


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
    side, mode = info.image_size, cfg.interpolation or "bilinear"
    if area := cfg.random_resized_crop:
        ratio = tuple(cfg.aspect or ASPECT)
        scale = (area, 1.0)
        return [drawn(lambda m: v2.RandomResizedCrop(side, scale, ratio, interpolation=m), mode)]
    if cfg.crop == "simple":
        crop = v2.RandomCrop(side, padding(cfg, side) or None, padding_mode="reflect")
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


def padding(cfg: AugmentConfig, side: int) -> int:
    """augment.crop_padding. Raises: ConfigError if it is not smaller than the image."""
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


def _resize(rule: Preprocessing) -> nn.Module:
    return v2.Resize(rule.resize, v2.InterpolationMode(rule.interpolation))
