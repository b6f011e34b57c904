"""Transforms of one image and of a batch, assembled from torchvision and timm."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from timm.data.auto_augment import rand_augment_transform
from torch import Tensor, nn
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from experiments.config.data import AugmentConfig
from experiments.data.images import is_deep
from experiments.data.info import ImageInfo
from experiments.data.pixels import to_tensor
from experiments.errors import ConfigError, DataError
from models.description import Preprocessing

POLICY_CHANNELS = (1, 3)
_EIGHT_BITS = (
    "has more than 8 bits a channel, and auto_augment and random_augment exist in 8 bits only: use "
    "augment.policy=none, or give (image * 255).round().to(torch.uint8) to lose the depth"
)

# What timm reads; it ignores or asserts on anything else, hence the check before.
_RANDOM_AUGMENT = re.compile(
    r"rand(-(m\d+|n[1-9]|p(0|1|0?\.\d+|1\.0+)|mstd\d+(\.\d+)?|mmax\d+|inc[01]|t(weights|3aw|3a)))*"
)


class ToChannels(nn.Module):
    """Bring what a dataset gives to a tensor with info.channels channels, of 8 bits if told so.

    Raises: DataError for an image of more than 8 bits that what follows would cut to 8.
    """

    def __init__(self, channels: int, eight_bits: bool = False) -> None:
        super().__init__()
        self.channels, self.eight_bits = channels, eight_bits

    def forward(self, image: Any) -> Tensor:
        if self.eight_bits and isinstance(image, Tensor) and is_deep(image):
            raise DataError(_EIGHT_BITS)
        return to_tensor(image, self.channels)


class Fit(nn.Module):
    """Resize the shorter side and crop the centre, unless the image has the size already."""

    def __init__(self, rule: Preprocessing) -> None:
        super().__init__()
        self.side = rule.size
        self.fit = v2.Compose([_resize(rule), v2.CenterCrop(rule.size)])

    def forward(self, image: Tensor) -> Tensor:
        return image if image.shape[-2:] == (self.side, self.side) else self.fit(image)


class OnPIL(nn.Module):
    """Apply a policy that works on PIL images, as timm's do, to a tensor of 1 or 3 channels."""

    def __init__(self, policy: Callable[[Any], Any]) -> None:
        super().__init__()
        self.policy = policy

    def forward(self, image: Tensor) -> Tensor:
        pixels = F.to_dtype(image, torch.uint8, scale=True)
        return F.pil_to_tensor(self.policy(F.to_pil_image(pixels)))


@dataclass(frozen=True)
class Mix:
    """Mixes the images of a batch, and their targets as distributions over classes."""

    mixers: nn.Module
    num_classes: int

    def __call__(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        return self.mixers(images, nn.functional.one_hot(targets, self.num_classes).float())


@dataclass(frozen=True)
class Pipeline:
    """What happens to an image between the dataset and the model.

    `changes` brings one image to its channels and size and changes it at random; a batch too if
    not `random`. `normalise` takes one or many: for whole batches it costs little.
    """

    changes: v2.Compose
    normalise: v2.Compose
    random: bool

    def __call__(self, image: Any) -> Tensor:
        return self.normalise(self.changes(image))


def build_eval_transform(info: ImageInfo) -> Pipeline:
    """Return the transform of validation and test images; it takes one image or a batch.

    Stored images that are all square and of one size are resized to info.image_size; others have
    their shorter side resized to image_size / 0.875 and their centre cropped.

    Shapes: PIL image or (..., C, H, W) -> (..., channels, image_size, image_size).
    Units: (pixel in [0, 1] - mean) / std, float32.
    """
    return Pipeline(v2.Compose([ToChannels(info.channels), _fit(info)]), _normalise(info), False)


def build_train_transform(cfg: AugmentConfig, info: ImageInfo) -> Pipeline:
    """Return the transform of one training image; with everything off, that of evaluation.

    Order: channels, size or random resized crop, padded crop, flip, rotation, policy, erasing of
    a rectangle by the mean colour, normalisation.

    Shapes and units: those of `build_eval_transform`, for a single image.

    Raises: ConfigError for padding not smaller than the image, for a policy on images that have
    neither 1 nor 3 channels or more than 8 bits, and for a random_augment that timm does not know.
    """
    side = info.image_size
    random: list[nn.Module] = []
    if cfg.crop_padding:
        random.append(v2.RandomCrop(side, _padding(cfg, side), padding_mode="reflect"))
    if cfg.horizontal_flip:
        random.append(v2.RandomHorizontalFlip())
    if cfg.rotation:
        random.append(v2.RandomRotation(cfg.rotation, v2.InterpolationMode.BILINEAR))
    if cfg.policy != "none":
        random.append(OnPIL(_policy(cfg, info)))
    if cfg.erasing:
        # Before normalisation, which maps the mean to 0: the same as erasing by 0 after it.
        random.append(v2.ToDtype(torch.float32, scale=True))
        random.append(v2.RandomErasing(cfg.erasing, value=list(info.mean)))
    area = cfg.random_resized_crop
    size = v2.RandomResizedCrop(side, scale=(area, 1.0)) if area else _fit(info)
    changes = v2.Compose([ToChannels(info.channels, cfg.policy != "none"), size, *random])
    return Pipeline(changes, _normalise(info), bool(area or random))


def build_mix(cfg: AugmentConfig, num_classes: int) -> Mix | None:
    """Return mixup, cutmix or, if both are on, one of them at random; None if both are off.

    With augment.mix_probability below 1 some batches stay as they are; their targets become
    distributions all the same.

    Shapes: (B, C, H, W), (B,) -> (B, C, H, W), (B, num_classes); each row of targets sums to 1.
    """
    kinds = [(v2.MixUp, cfg.mixup), (v2.CutMix, cfg.cutmix)]
    mixers = [kind(alpha=alpha) for kind, alpha in kinds if alpha]
    if not mixers or not cfg.mix_probability:
        return None
    return Mix(v2.RandomApply([v2.RandomChoice(mixers)], p=cfg.mix_probability), num_classes)


def _fit(info: ImageInfo) -> nn.Module:
    rule = info.preprocessing
    if rule.resize == rule.size:
        return Fit(rule)
    return v2.Compose([_resize(rule), v2.CenterCrop(rule.size)])


def _resize(rule: Preprocessing) -> nn.Module:
    return v2.Resize(rule.resize, v2.InterpolationMode(rule.interpolation))


def _normalise(info: ImageInfo) -> v2.Compose:
    return v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize(info.mean, info.std)])


def _padding(cfg: AugmentConfig, side: int) -> int:
    if cfg.crop_padding >= side:
        raise ConfigError(
            f"augment.crop_padding={cfg.crop_padding}: reflection needs less than the side of the "
            f"image, {side}; use at most {side - 1}"
        )
    return cfg.crop_padding


def _policy(cfg: AugmentConfig, info: ImageInfo) -> Callable[[Any], Any]:
    if info.channels not in POLICY_CHANNELS:
        raise ConfigError(
            f"augment.policy={cfg.policy!r} needs images of 1 or 3 channels, these have "
            f"{info.channels}; use augment.policy=none"
        )
    if info.deep:
        raise ConfigError(f"augment.policy={cfg.policy!r}: an image {_EIGHT_BITS}")
    if cfg.policy == "auto_augment":
        return v2.AutoAugment(v2.AutoAugmentPolicy(cfg.policy_name))
    if not _RANDOM_AUGMENT.fullmatch(cfg.random_augment):
        raise ConfigError(
            f"augment.random_augment={cfg.random_augment!r}: write rand, then any of -mN "
            "(magnitude), -nN (operations per image, 1 to 9), -pX (probability), -mstdX, -mmaxN, "
            "-inc1, -tweights, -t3a, -t3aw, for example rand-m9-mstd0.5-inc1"
        )
    colour = tuple(min(255, round(255 * mean)) for mean in info.mean)
    fill = colour if info.channels == 3 else colour[0]  # Pillow takes a number for grey images
    policy = rand_augment_transform(cfg.random_augment, {"img_mean": fill})
    for op in policy.ops:
        if op.name.startswith("Posterize"):
            # timm asks for 0 bits at full magnitude, which current Pillow refuses.
            op.level_fn = partial(_at_least_one_bit, op.level_fn)
    return policy


def _at_least_one_bit(bits: Callable[..., tuple[int]], *args: Any) -> tuple[int]:
    return (max(1, bits(*args)[0]),)
