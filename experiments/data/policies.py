"""Augmentation policies of one image: AutoAugment, RandAugment, AugMix and three-augment."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from timm.data.auto_augment import (
    AugmentOp,
    augment_and_mix_transform,
    auto_augment_transform,
    rand_augment_transform,
)
from timm.data.transforms import str_to_pil_interp
from torch import Tensor, nn
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from experiments.config.augment import TORCHVISION_POLICIES, AugmentConfig
from experiments.data.info import ImageInfo
from experiments.data.resizing import drawn
from experiments.errors import ConfigError

COLOURS = (1, 3)  # numbers of channels
EIGHT_BITS = (
    "has more than 8 bits a channel, and policies exist in 8 bits only: use "
    "augment.policy=none, or give (image * 255).round().to(torch.uint8) to lose the depth"
)
_TIMM: dict[str, Callable[..., Any]] = {
    "auto_augment": auto_augment_transform,
    "random_augment": rand_augment_transform,
    "augmix": augment_and_mix_transform,
    "three_augment": auto_augment_transform,
}


class OnPIL(nn.Module):
    """Apply a policy that works on PIL images, as timm's do, to a tensor of 1 or 3 channels."""

    def __init__(self, policy: Callable[[Any], Any]) -> None:
        super().__init__()
        self.policy = policy

    def forward(self, image: Tensor) -> Tensor:
        pixels = F.to_dtype(image, torch.uint8, scale=True)
        return F.pil_to_tensor(self.policy(F.to_pil_image(pixels)))


def build_policy(cfg: AugmentConfig, info: ImageInfo) -> nn.Module:
    """Return the policy that augment.policy names, which must not be none.

    three_augment is one of grayscale, solarize at 128 and Gaussian blur of radius 0.1 to 2, each
    for a third of the images: timm's `3a`.

    Raises: ConfigError for images that have neither 1 nor 3 channels or more than 8 bits.
    Source: arXiv 1805.09501, 1909.13719, 1912.02781 and 2204.07118, section 3.
    """
    require_colours(f"augment.policy={cfg.policy!r}", info, "augment.policy=none")
    if info.deep:
        raise ConfigError(f"augment.policy={cfg.policy!r}: an image {EIGHT_BITS}")
    if cfg.policy == "auto_augment" and cfg.policy_name in TORCHVISION_POLICIES:
        return OnPIL(_torchvision(cfg))
    return OnPIL(_timm(cfg, info))


def require_colours(given: str, info: ImageInfo, instead: str) -> None:
    """Raise ConfigError unless images are grey or of three colours."""
    if info.channels not in COLOURS:
        raise ConfigError(
            f"{given} needs images of 1 or 3 channels, these have {info.channels}; use {instead}"
        )


def _torchvision(cfg: AugmentConfig) -> Callable[[Any], Any]:
    make = partial(v2.AutoAugment, v2.AutoAugmentPolicy(cfg.policy_name))
    return drawn(lambda mode: make(interpolation=mode), cfg.interpolation or "nearest")


def _timm(cfg: AugmentConfig, info: ImageInfo) -> Callable[[Any], Any]:
    notation = {
        "auto_augment": cfg.policy_name,
        "random_augment": cfg.random_augment,
        "augmix": cfg.augmix,
        "three_augment": "3a",
    }[cfg.policy]
    colour = tuple(min(255, round(255 * mean)) for mean in info.mean)
    hints: dict[str, Any] = {
        "img_mean": colour if info.channels == 3 else colour[0],  # Pillow's fill of grey images
        "translate_const": int(0.45 * min(info.sides)),  # pixels at full magnitude
    }
    if cfg.policy == "augmix":
        hints["translate_pct"] = 0.3
    if cfg.interpolation in ("bilinear", "bicubic"):  # timm's own is to draw one of them
        hints["interpolation"] = str_to_pil_interp(cfg.interpolation)
    policy = _TIMM[cfg.policy](notation, hints)
    for op in _operations(policy):
        if op.name.startswith("Posterize") and op.level_fn is not None:
            # timm asks for 0 bits at full magnitude, which current Pillow refuses.
            op.level_fn = partial(_at_least_one_bit, op.level_fn)
    made: Callable[[Any], Any] = policy
    return made


def _operations(policy: Any) -> Iterator[AugmentOp]:
    """The operations of a policy, which has them in one list or in sequences to choose from."""
    if hasattr(policy, "ops"):
        yield from policy.ops
    else:
        yield from (op for sequence in policy.policy for op in sequence)


def _at_least_one_bit(bits: Callable[..., Any], *args: Any) -> tuple[int]:
    return (max(1, bits(*args)[0]),)
