"""Group `augment`: how training images are changed at random, and batches mixed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import inf

from experiments.config.checks import require, require_choice
from experiments.config.trainer import TrainerConfig
from experiments.errors import ConfigError

CROPS = ("none", "simple", "keep_ratio")
POLICIES = ("none", "auto_augment", "random_augment", "augmix", "three_augment")
TORCHVISION_POLICIES = ("cifar10", "imagenet", "svhn")
MIX_MODES = ("batch", "elem", "pair")
ERASING_MODES = ("mean", "const", "rand", "pixel")

# What timm reads; it ignores or asserts on anything else, hence these. Key: (pattern, rule).
_NUMBER = r"\d+(\.\d+)?"
_POSITIVE = r"(0*[1-9]\d*(\.\d+)?|0+\.\d*[1-9]\d*)"
_NOTATIONS = {
    "policy_name": (
        rf"cifar10|imagenet|svhn|(original|originalr|v0|v0r|3a)(-mstd{_NUMBER})?",
        "write cifar10, imagenet or svhn (torchvision's), or original, originalr, v0, v0r or 3a "
        "(timm's), which may be followed by -mstdX, for example original-mstd0.5",
    ),
    "random_augment": (
        rf"rand(-(m\d+|n[1-9]|p(0|1|0\.\d+|1\.0+)|mstd{_NUMBER}|mmax\d+|inc[01]"
        r"|t(weights|3aw|3a)))*",
        "write rand, then any of -mN (magnitude), -nN (operations per image, 1 to 9), -pX "
        "(probability), -mstdX, -mmaxN, -inc1, -tweights, -t3a, -t3aw, for example "
        "rand-m9-mstd0.5-inc1",
    ),
    "augmix": (
        rf"augmix(-(m\d+|w[1-9]|d\d|a{_POSITIVE}|b[01]|mstd{_NUMBER}))*",
        "write augmix, then any of -mN (magnitude), -wN (chains, 1 to 9), -dN (operations of a "
        "chain, 0 draws 1 to 3), -aX (of the Dirichlet distribution), -b1 (blend chain by chain), "
        "-mstdX, for example augmix-m5-w4-d2",
    ),
}


@dataclass
class AugmentConfig:
    """Random changes of training images; every probability or size of 0 switches its part off."""

    size: int | None = None  # side of training's images; None: those of evaluation
    crop: str = "none"  # none | simple | keep_ratio; see also random_resized_crop
    crop_padding: int = 0  # pixels of reflection padding before a random crop
    random_resized_crop: float = 0.0  # smallest area kept; 0: no random resized crop
    crop_area: float = 0.8  # of keep_ratio: smallest area kept
    aspect: list[float] | None = None  # range that random_resized_crop and keep_ratio draw from
    interpolation: str | None = None  # of random crops and policies: bilinear | bicubic | random
    horizontal_flip: bool = False
    vertical_flip: bool = False
    rot90: bool = False  # a turn by 0, 90, 180 or 270 degrees, transposed half of the time
    rotation: float = 0.0  # degrees, uniform in [-rotation, rotation]
    policy: str = "none"  # none | auto_augment | random_augment | augmix | three_augment
    policy_name: str = "cifar10"  # auto_augment: torchvision's or timm's
    random_augment: str = "rand-m9-mstd0.5-inc1"  # timm's notation
    augmix: str = "augmix-m5-w4-d2"  # timm's notation
    colour_jitter: float = 0.0  # brightness, contrast and saturation, each by a factor of 1 +- this
    erasing: float = 0.0  # probability of random erasing
    erasing_mode: str = "mean"  # mean | const | rand | pixel
    erasing_count: int = 1  # rectangles at most
    mixup: float = 0.0  # alpha of the Beta distribution
    cutmix: float = 0.0
    mix_probability: float = 1.0  # of a batch (mix_mode=batch), an image or a pair being mixed
    switch_probability: float = 0.5  # of cutmix, where both are on
    mix_mode: str = "batch"  # batch | elem | pair: what shares a draw of how to mix

    def __post_init__(self) -> None:
        self._check_numbers()
        self._check_choices()
        if self.crop != "none" and self.random_resized_crop:
            raise ConfigError(
                f"augment.crop={self.crop} with augment.random_resized_crop="
                f"{self.random_resized_crop}: an image is cut one way; type "
                "augment.random_resized_crop=0 or augment.crop=none"
            )
        if self.erasing_mode == "mean" and self.erasing_count > 1:
            raise ConfigError(
                f"augment.erasing_count={self.erasing_count}: augment.erasing_mode=mean erases one "
                "rectangle; type augment.erasing_mode=const for several of the mean colour"
            )

    def _check_numbers(self) -> None:
        size, rule = self.size, "must be a side of 1 or more, or null"
        require(size is None or size > 0, "augment.size", size, rule)
        for key in ("erasing", "mix_probability", "switch_probability", "random_resized_crop"):
            value = getattr(self, key)
            require(0 <= value <= 1, f"augment.{key}", value, "must lie in [0, 1]")
        for key in ("crop_padding", "rotation", "mixup", "cutmix", "colour_jitter"):
            value = getattr(self, key)
            rule = "must be 0 (off) or more, and finite"
            require(0 <= value < inf, f"augment.{key}", value, rule)
        area = self.crop_area
        require(0.01 <= area <= 1, "augment.crop_area", area, "must lie in [0.01, 1]")
        count = self.erasing_count
        require(1 <= count <= 100, "augment.erasing_count", count, "must be 1 to 100")
        aspect = self.aspect
        known = aspect is None or (len(aspect) == 2 and 0.5 <= aspect[0] <= aspect[1] <= 2)
        rule = "must be [LEAST, GREATEST], width / height in [0.5, 2], or null"
        require(known, "augment.aspect", aspect, rule)

    def _check_choices(self) -> None:
        require_choice("augment.crop", self.crop, CROPS)
        require_choice("augment.policy", self.policy, POLICIES)
        require_choice("augment.mix_mode", self.mix_mode, MIX_MODES)
        require_choice("augment.erasing_mode", self.erasing_mode, ERASING_MODES)
        if self.interpolation is not None:
            known = ("bilinear", "bicubic", "random")
            require_choice("augment.interpolation", self.interpolation, known)
        for key, (pattern, rule) in _NOTATIONS.items():
            value = getattr(self, key)
            require(re.fullmatch(pattern, value) is not None, f"augment.{key}", value, rule)


def check_pairs(augment: AugmentConfig, trainer: TrainerConfig, processes: int = 1) -> None:
    """Refuse images that have no other one to be mixed with. Raises: ConfigError."""
    mixes = (augment.mixup or augment.cutmix) and augment.mix_probability
    share = trainer.batch_size // (trainer.accumulation * processes)
    if augment.mix_mode == "batch" or not mixes or trainer.overfit_batches or share % 2 == 0:
        return
    unit = 2 * trainer.accumulation * processes
    raise ConfigError(
        f"augment.mix_mode={augment.mix_mode}: images are mixed in pairs, and trainer.batch_size="
        f"{trainer.batch_size} gives micro-batches of {share}; use a multiple of {unit}, for "
        f"example trainer.batch_size={(trainer.batch_size // unit + 1) * unit}"
    )
