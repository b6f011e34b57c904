"""Classification losses over integer or soft targets, built from their config."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from experiments.config.checks import require_choice
from experiments.config.losses import LOSSES, BCEConfig, FocalConfig, LossConfig
from experiments.errors import ConfigError
from experiments.tasks.class_weights import Counts, class_weights


def build_loss(cfg: LossConfig, num_classes: int, counts: Counts | None = None) -> nn.Module:
    """Build the loss named by cfg: (logits (B, C), targets (B,) int or (B, C) soft) -> scalar mean.

    With class weights w each class's term of the sum over classes is w_c times what it was, and the
    mean is over images still: it does not depend on how a batch is divided. counts: of the training
    targets of each class, for balanced weights.

    Smoothing acts on the targets as they come, behind mixup and cutmix: the same as timm's, whose
    Mixup smooths the classes before it mixes them.

    Raises:
        ConfigError: cfg.name is not a known loss; cfg.class_weights has another length than
            num_classes.
    """
    require_choice("loss.name", cfg.name, tuple(LOSSES))
    weights = class_weights(cfg.class_weights, num_classes, counts)
    if isinstance(cfg, FocalConfig):
        return FocalLoss(cfg.gamma, weights, cfg.label_smoothing)
    if isinstance(cfg, BCEConfig):
        return BinaryCrossEntropy(cfg.label_smoothing, cfg.threshold, weights)
    if LOSSES[cfg.name] is not LossConfig:
        fields = LOSSES[cfg.name].__name__
        raise ConfigError(
            f"loss.name={cfg.name!r} needs the fields of {fields}; choose loss={cfg.name}"
        )
    if weights is None:
        return nn.CrossEntropyLoss(label_smoothing=cfg.label_smoothing)
    return WeightedCrossEntropy(weights, cfg.label_smoothing)


class WeightedCrossEntropy(nn.Module):
    """mean over b of sum_c t_c w_c (-log p_c), with p = softmax(logits); t smoothed as `soften`.

    Torch's own mean divides by the weights of the batch's targets, and so depends on the batch.

    Shapes: weights (C,), logits (B, C), targets (B,) int or (B, C) soft -> scalar.
    """

    weights: Tensor

    def __init__(self, weights: Tensor, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing
        self.register_buffer("weights", weights, persistent=False)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        logits = at_least_float32(logits)
        losses = F.cross_entropy(
            logits,
            targets if targets.dim() == 1 else targets.to(logits.dtype),
            self.weights.to(logits),
            reduction="none",
            label_smoothing=self.label_smoothing,
        )
        return losses.mean()


def soften(targets: Tensor, num_classes: int, smoothing: float, dtype: torch.dtype) -> Tensor:
    """Targets as distributions, t_c = (1 - smoothing) * onehot_c + smoothing / C.

    Shapes: targets (B,) int or (B, C) soft -> (B, C).
    """
    if targets.dim() == 1:
        targets = F.one_hot(targets, num_classes)
    return targets.to(dtype) * (1 - smoothing) + smoothing / num_classes


class BinaryCrossEntropy(nn.Module):
    """mean over b, c of -w_c (t_c log s_c + (1 - t_c) log(1 - s_c)), with s = sigmoid(logits).

    Computed in float32 at least. label_smoothing mixes t with the uniform distribution, for
    integer and soft targets alike; with a threshold t_c is 1 above it and 0 elsewhere, so that all
    classes of a mixed image may be present.

    Shapes: logits (B, C), targets (B,) int or (B, C) soft -> scalar.
    Source: timm's loss of this name, which leaves the smoothing of soft targets to its Mixup;
        threshold=0 is KAN-ViT's.
    """

    weights: Tensor | None

    def __init__(
        self,
        label_smoothing: float = 0.0,
        threshold: float | None = None,
        weights: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.label_smoothing, self.threshold = label_smoothing, threshold
        self.register_buffer("weights", weights, persistent=False)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        logits = at_least_float32(logits)
        t = soften(targets, logits.shape[1], self.label_smoothing, logits.dtype)
        if self.threshold is not None:
            t = (t > self.threshold).to(t.dtype)
        weights = None if self.weights is None else self.weights.to(logits)
        return F.binary_cross_entropy_with_logits(logits, t, weights)


class FocalLoss(nn.Module):
    """mean over b of sum_c t_c (1 - p_c)^gamma (-w_c log p_c), with p = softmax(logits).

    For integer targets without smoothing this is (1 - p_y)^gamma (-w_y log p_y); gamma = 0 and no
    weights give cross entropy. Computed in float32 at least, 1 - p as -expm1(log p), which keeps
    the gradient finite where p reaches 1.

    Shapes: logits (B, C), targets (B,) int or (B, C) soft -> scalar.
    Source: Lin et al. 2017, eq. 5, generalised to a distribution t over the classes; w is its
        alpha, scaled to a mean of 1.
    """

    weights: Tensor | None

    def __init__(
        self, gamma: float, weights: Tensor | None = None, label_smoothing: float = 0.0
    ) -> None:
        super().__init__()
        self.gamma, self.label_smoothing = gamma, label_smoothing
        self.register_buffer("weights", weights, persistent=False)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        logits = at_least_float32(logits)
        t = soften(targets, logits.shape[1], self.label_smoothing, logits.dtype)
        log_p = F.log_softmax(logits, dim=1)
        # The clamp keeps d(q^gamma)/dq finite at q = 0, where -log p = 0 removes the term anyway.
        q = (-torch.expm1(log_p)).clamp_min(torch.finfo(log_p.dtype).tiny)
        losses = t * q**self.gamma * -log_p
        if self.weights is not None:
            losses = losses * self.weights.to(losses)
        return losses.sum(dim=1).mean()


def at_least_float32(x: Tensor) -> Tensor:
    """x in float32 if its dtype is narrower; float64 stays."""
    return x if x.dtype == torch.float64 else x.float()
