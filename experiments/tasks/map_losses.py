"""Losses of segmentation, built from their config: maps of logits and masks -> a number.

Each is a mean over images of a number of the image alone, so that it does not depend on how a batch
is divided (except with per_image=false). Pixels that are to be ignored enter no term.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from experiments.config.map_losses import (
    DiceBinaryConfig,
    DiceCrossEntropyConfig,
    DiceFocalConfig,
    LovaszConfig,
    MapLossConfig,
    OverlapConfig,
    PixelLossConfig,
    TverskyConfig,
)
from experiments.data.extras import import_extra
from experiments.tasks.class_weights import Counts, class_weights
from experiments.tasks.losses import at_least_float32
from experiments.tasks.maps import logits_of, one_hot, valid_of


class Term(Protocol):
    """A part of a loss.

    Shapes: maps (B, K, *S), masks and valid (B, *S), weights (C,) -> scalar.
    """

    def __call__(self, maps: Tensor, masks: Tensor, valid: Tensor, weights: Tensor) -> Tensor: ...


class MapLoss(nn.Module):
    """loss = sum_i factor_i * term_i(maps, masks), in float32 at least.

    Shapes: maps (B, K, *S), K = num_classes or 1 for two classes; masks (B, *S) int64 -> scalar.
    Raises:
        ConfigError: class_weights do not hold num_classes weights.
        DataError: the library of a loss is not installed.
    """

    weights: Tensor

    def __init__(
        self,
        cfg: MapLossConfig,
        num_classes: int,
        ignore_index: int | None,
        counts: Counts | None = None,
    ) -> None:
        super().__init__()
        self.ignore_index = ignore_index
        given = class_weights(cfg.class_weights, num_classes, counts)
        weights = torch.ones(num_classes) if given is None else given
        self.register_buffer("weights", weights, persistent=False)
        self.terms = _terms(cfg)

    def forward(self, maps: Tensor, masks: Tensor) -> Tensor:
        maps, valid = at_least_float32(maps), valid_of(masks, self.ignore_index)
        masks, weights = masks.where(valid, 0), self.weights.to(maps)
        losses = [factor * term(maps, masks, valid, weights) for factor, term in self.terms]
        return torch.stack(losses).sum()


def _terms(cfg: MapLossConfig) -> list[tuple[float, Term]]:
    """The terms of a loss with their factors."""
    if isinstance(cfg, PixelLossConfig):
        return [(1.0, PixelTerm(cfg.label_smoothing))]
    if isinstance(cfg, LovaszConfig):
        return [(1.0, LovaszTerm(cfg.per_image))]
    if isinstance(cfg, TverskyConfig):
        options = {"alpha": cfg.alpha, "beta": cfg.beta}
        return [(1.0, OverlapTerm(cfg, "TverskyLoss", cfg.gamma, **options))]
    assert isinstance(cfg, OverlapConfig)
    dice = (1.0, OverlapTerm(cfg, "DiceLoss"))
    if isinstance(cfg, DiceFocalConfig):
        return [dice, (cfg.weight, FocalTerm(cfg.gamma))]
    if isinstance(cfg, DiceBinaryConfig):
        return [dice, (cfg.weight, BinaryTerm())]
    if isinstance(cfg, DiceCrossEntropyConfig):
        return [dice, (cfg.weight, PixelTerm())]
    return [dice]


# ----------------------------------------------------------------------------------- over pixels
def mean_over_images(losses: Tensor, valid: Tensor) -> Tensor:
    """mean over b of sum_i v_bi l_bi / sum_i v_bi; an image without valid pixels counts 0.

    Shapes: losses, valid (B, *S) -> scalar.
    """
    losses, v = (losses * valid).flatten(1), valid.flatten(1).to(losses)
    return (losses.sum(1) / v.sum(1).clamp_min(1)).mean()


class PixelTerm:
    """l = -w_y log p_y, p = softmax(logits); with label smoothing as torch's cross entropy."""

    def __init__(self, label_smoothing: float = 0.0) -> None:
        self.label_smoothing = label_smoothing

    def __call__(self, maps: Tensor, masks: Tensor, valid: Tensor, weights: Tensor) -> Tensor:
        losses = F.cross_entropy(
            logits_of(maps), masks, weights, reduction="none", label_smoothing=self.label_smoothing
        )
        return mean_over_images(losses, valid)


class FocalTerm:
    """l = -w_y (1 - p_y)^gamma log p_y, p = softmax(logits).

    Source: Lin et al. 2017, eq. 5, over classes as there over two.
    """

    def __init__(self, gamma: float) -> None:
        self.gamma = gamma

    def __call__(self, maps: Tensor, masks: Tensor, valid: Tensor, weights: Tensor) -> Tensor:
        log_p = -F.cross_entropy(logits_of(maps), masks, reduction="none")
        # The clamp keeps d(q^gamma)/dq finite at q = 0, where -log p = 0 removes the term anyway.
        q = (-torch.expm1(log_p)).clamp_min(torch.finfo(log_p.dtype).tiny)
        return mean_over_images(-weights[masks] * q**self.gamma * log_p, valid)


class BinaryTerm:
    """l = mean over k of -w_k (t_k log s_k + (1 - t_k) log(1 - s_k)), s = sigmoid(maps).

    t is one-hot; of one map it is class 1, and w that of the pixel's class.
    """

    def __call__(self, maps: Tensor, masks: Tensor, valid: Tensor, weights: Tensor) -> Tensor:
        t = one_hot(masks, valid, len(weights))[:, -maps.shape[1] :].to(maps)
        losses = F.binary_cross_entropy_with_logits(maps, t, reduction="none")
        if maps.shape[1] == 1:
            return mean_over_images(losses[:, 0] * weights[masks], valid)
        w = weights.reshape(-1, *[1] * (maps.dim() - 2))
        return mean_over_images((w * losses).mean(1), valid)


# -------------------------------------------------------------------------------------- of overlap
class OverlapTerm:
    """mean over b, c of w_c (1 - D_bc)^gamma, by MONAI's DiceLoss or TverskyLoss, where

      Dice:    D = (2 I + s) / (P + T + s)
      Tversky: D = (I + s) / (I + alpha (P - I) + beta (T - I) + s)

    with I = sum p t, P = sum p, T = sum t over the valid pixels of an image, p = softmax(logits), t
    one-hot. Without background class 0 is left out. An image without class c has D = s / (P + s).

    Source: Milletari et al. 2016 (V-Net), with p and t for their squares; Salehi et al. 2017.
    """

    def __init__(self, cfg: OverlapConfig, name: str, gamma: float = 1.0, **options: float) -> None:
        self.background, self.gamma = cfg.background, gamma
        monai = import_extra("monai", f"loss={cfg.name}")
        self.loss = getattr(monai.losses, name)(
            smooth_nr=cfg.smooth,
            smooth_dr=cfg.smooth,
            batch=not cfg.per_image,
            reduction="none",
            **options,
        )

    def __call__(self, maps: Tensor, masks: Tensor, valid: Tensor, weights: Tensor) -> Tensor:
        p = logits_of(maps).softmax(dim=1) * valid[:, None]
        t = one_hot(masks, valid, len(weights)).to(p)
        first = 0 if self.background else 1
        w = weights[first:]
        losses = self.loss(p[:, first:], t[:, first:]).reshape(-1, len(w)) ** self.gamma
        return (losses * w).sum(1).mean() / w.sum()


class LovaszTerm:
    """The Lovasz extension of 1 - IoU of softmax errors, over the classes present, by
    segmentation_models_pytorch.

    Source: Berman et al. 2018, "The Lovasz-Softmax loss".
    """

    def __init__(self, per_image: bool) -> None:
        self.per_image = per_image
        smp = import_extra("segmentation_models_pytorch", "loss=lovasz")
        self.loss = smp.losses.LovaszLoss("multiclass")

    def __call__(self, maps: Tensor, masks: Tensor, valid: Tensor, weights: Tensor) -> Tensor:
        # the library knows float32 alone
        logits, count = logits_of(maps.float()).movedim(1, -1), len(maps)
        parts = range(count) if self.per_image else [slice(None)]
        found = [
            self.loss(logits[i][valid[i]].T[None, :, :, None], masks[i][valid[i]])
            for i in parts
            if valid[i].any()
        ]
        zero = 0 * maps.sum()  # of a batch without valid pixels
        return sum(found, zero) / (count if self.per_image else 1)
