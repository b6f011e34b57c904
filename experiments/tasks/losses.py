"""Classification losses over integer or soft targets, built from their config."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from experiments.config.checks import require_choice
from experiments.config.losses import LOSSES, BCEConfig, FocalConfig, LossConfig
from experiments.errors import ConfigError


def build_loss(cfg: LossConfig, num_classes: int) -> nn.Module:
    """Build the loss named by cfg: (logits (B, C), targets (B,) int or (B, C) soft) -> scalar mean.

    Smoothing acts on the targets as they come, behind mixup and cutmix: the same as timm's, whose
    Mixup smooths the classes before it mixes them.

    Raises:
        ConfigError: cfg.name is not a known loss; cfg.alpha has another length than num_classes.
    """
    require_choice("loss.name", cfg.name, tuple(LOSSES))
    if isinstance(cfg, FocalConfig):
        return FocalLoss(num_classes, cfg.gamma, cfg.alpha, cfg.label_smoothing)
    if isinstance(cfg, BCEConfig):
        return BinaryCrossEntropy(cfg.label_smoothing, cfg.threshold)
    if LOSSES[cfg.name] is not LossConfig:
        fields = LOSSES[cfg.name].__name__
        raise ConfigError(
            f"loss.name={cfg.name!r} needs the fields of {fields}; choose loss={cfg.name}"
        )
    return nn.CrossEntropyLoss(label_smoothing=cfg.label_smoothing)


def soften(targets: Tensor, num_classes: int, smoothing: float, dtype: torch.dtype) -> Tensor:
    """Targets as distributions, t_c = (1 - smoothing) * onehot_c + smoothing / C.

    Shapes: targets (B,) int or (B, C) soft -> (B, C).
    """
    if targets.dim() == 1:
        targets = F.one_hot(targets, num_classes)
    return targets.to(dtype) * (1 - smoothing) + smoothing / num_classes


class BinaryCrossEntropy(nn.Module):
    """mean over b, c of -(t_c log s_c + (1 - t_c) log(1 - s_c)), with s = sigmoid(logits).

    Computed in float32 at least. label_smoothing mixes t with the uniform distribution, for
    integer and soft targets alike; with a threshold t_c is 1 above it and 0 elsewhere, so that all
    classes of a mixed image may be present.

    Shapes: logits (B, C), targets (B,) int or (B, C) soft -> scalar.
    Source: timm's loss of this name, which leaves the smoothing of soft targets to its Mixup;
        threshold=0 is KAN-ViT's.
    """

    def __init__(self, label_smoothing: float = 0.0, threshold: float | None = None) -> None:
        super().__init__()
        self.label_smoothing, self.threshold = label_smoothing, threshold

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        logits = at_least_float32(logits)
        t = soften(targets, logits.shape[1], self.label_smoothing, logits.dtype)
        if self.threshold is not None:
            t = (t > self.threshold).to(t.dtype)
        return F.binary_cross_entropy_with_logits(logits, t)


class FocalLoss(nn.Module):
    """mean over b of sum_c t_c (1 - p_c)^gamma (-alpha_c log p_c), with p = softmax(logits).

    For integer targets without smoothing this is (1 - p_y)^gamma (-alpha_y log p_y); gamma = 0 and
    no alpha give cross entropy. Computed in float32 at least, 1 - p as -expm1(log p), which keeps
    the gradient finite where p reaches 1.

    Shapes: logits (B, C), targets (B,) int or (B, C) soft -> scalar.
    Raises:
        ConfigError: alpha does not hold num_classes weights.
    Source: Lin et al. 2017, eq. 5, generalised to a distribution t over the classes.
    """

    alpha: Tensor

    def __init__(
        self,
        num_classes: int,
        gamma: float,
        alpha: list[float] | None = None,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        if alpha is not None and len(alpha) != num_classes:
            raise ConfigError(
                f"loss.alpha has {len(alpha)} weights: must hold one per class, and there are "
                f"{num_classes}; give {num_classes} numbers, or null for equal weights"
            )
        self.gamma = gamma
        self.label_smoothing = label_smoothing
        weights = torch.ones(num_classes) if alpha is None else torch.tensor(alpha)
        self.register_buffer("alpha", weights, persistent=False)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        logits = at_least_float32(logits)
        t = soften(targets, logits.shape[1], self.label_smoothing, logits.dtype)
        log_p = F.log_softmax(logits, dim=1)
        # The clamp keeps d(q^gamma)/dq finite at q = 0, where -log p = 0 removes the term anyway.
        q = (-torch.expm1(log_p)).clamp_min(torch.finfo(log_p.dtype).tiny)
        return (t * q**self.gamma * (-self.alpha.to(log_p) * log_p)).sum(dim=1).mean()


def at_least_float32(x: Tensor) -> Tensor:
    """x in float32 if its dtype is narrower; float64 stays."""
    return x if x.dtype == torch.float64 else x.float()
