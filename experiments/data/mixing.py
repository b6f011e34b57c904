"""Mixup and cutmix: batches whose images, and targets, are mixtures of two."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import timm.data
from torch import Tensor, nn
from torchvision.transforms import v2

from experiments.config.augment import AugmentConfig
from experiments.errors import ConfigError


@dataclass(frozen=True)
class MixBatch:
    """Mixes the images of a batch, and their targets as distributions over classes."""

    mixers: nn.Module
    num_classes: int | None

    def __call__(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        if self.num_classes is not None:
            targets = nn.functional.one_hot(targets, self.num_classes).float()
        mixed: tuple[Tensor, Tensor] = self.mixers(images, targets)
        return mixed


def build_mix(
    cfg: AugmentConfig, num_classes: int | None
) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None:
    """Return mixup, cutmix or, if both are on, one of them at random; None if both are off.

    x_i <- lam x_i + (1 - lam) x_j, or a rectangle of x_j in x_i, and so the targets; lam from
    Beta(alpha, alpha). mix_mode says what shares a draw (whether to mix, which of both, lam, the
    rectangle): the batch; a pair of images, each mixed with the other; or each image by itself.
    torchvision mixes batches, with j = i - 1; timm the others, with j = B - 1 - i. Both draw from
    the global generators, which the reader seeds for each batch: nothing is carried over.

    With augment.mix_probability below 1 some images stay as they are; their targets become
    distributions all the same.

    Shapes: (B, C, H, W), (B,) -> (B, C, H, W), (B, num_classes); each row of targets sums to 1. B
    is even, but for mix_mode=batch (see check_pairs). Without num_classes targets are vectors
    (B, D), mixed as they are.

    Raises: ConfigError for vectors and another mix_mode than batch.
    """
    if not (cfg.mixup or cfg.cutmix) or not cfg.mix_probability:
        return None
    if cfg.mix_mode == "batch":
        return _mix_batch(cfg, num_classes)
    if num_classes is None:
        raise ConfigError(
            f"augment.mix_mode={cfg.mix_mode}: targets that are no classes are mixed in whole "
            "batches only; type augment.mix_mode=batch"
        )
    mix: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] = timm.data.Mixup(
        mixup_alpha=cfg.mixup,
        cutmix_alpha=cfg.cutmix,
        prob=cfg.mix_probability,
        switch_prob=cfg.switch_probability,
        mode=cfg.mix_mode,
        label_smoothing=0.0,  # that of the loss is group `loss`'s
        num_classes=num_classes,
    )
    return mix


def _mix_batch(cfg: AugmentConfig, num_classes: int | None) -> MixBatch:
    switch = cfg.switch_probability
    kinds = [(v2.MixUp, cfg.mixup, 1 - switch), (v2.CutMix, cfg.cutmix, switch)]
    mixers = [(kind(alpha=alpha), share) for kind, alpha, share in kinds if alpha]
    shares = [share for _, share in mixers] if len(mixers) > 1 else None
    choice = v2.RandomChoice([mixer for mixer, _ in mixers], p=shares)
    return MixBatch(v2.RandomApply([choice], p=cfg.mix_probability), num_classes)
