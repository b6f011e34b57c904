"""norm(y), its statistics and its gradient by the native operations of torch."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from conv_kan.ops.maths.dtypes import promote
from conv_kan.ops.maths.norms import (
    BATCH_NORMS,
    INSTANCE_NORMS,
    Affine,
    ChannelLayerNorm,
    Statistics,
    has_hooks,
    step_momentum,
)

aten = torch.ops.aten


@dataclass(frozen=True)
class NormPlan:
    """How a norm of torch maps to aten's native operations."""

    kind: str  # "batch", "group" or "layer"
    eps: float
    num_groups: int = 0  # group
    normalized_shape: tuple[int, ...] = ()  # layer
    channels_first: bool = False  # layer: over dimension 1 instead of the last
    uses_batch: bool = True  # batch: statistics of the batch, not the running ones

    def normalize(self, y: Tensor, norm: nn.Module) -> tuple[Tensor, Statistics]:
        """norm(y) and its statistics."""
        if self.kind == "batch":
            z, mean, rstd = _batch_norm(y, norm, self.uses_batch)
        else:
            affine = Affine.of(norm)
            z, mean, rstd = self._native(self.arrange(y, affine.weight), affine)
            z = self.restore(z).to(y.dtype)
        return z, Statistics(mean, rstd)

    def arrange(self, y: Tensor, weight: Tensor | None) -> Tensor:
        """y as the native operation of a group or layer norm takes it."""
        if weight is not None:
            y = y.to(weight.dtype)
        if self.kind == "layer":
            return y.movedim(1, -1).contiguous() if self.channels_first else y.contiguous()
        return y.contiguous()

    def restore(self, z: Tensor) -> Tensor:
        return z.movedim(-1, 1) if self.channels_first else z

    def _native(self, y: Tensor, affine: Affine) -> tuple[Tensor, Tensor, Tensor]:
        if self.kind == "layer":
            return aten.native_layer_norm(y, self.normalized_shape, *affine, self.eps)
        return aten.native_group_norm(y, *affine, *_group_sizes(y, self), self.eps)

    def recompute(self, y: Tensor, affine: Affine, statistics: Statistics) -> Tensor:
        """norm(y) from the kept statistics; one pass over y."""
        (weight, bias), (mean, rstd) = affine, statistics
        if self.kind == "layer":
            return self.restore(self._native(self.arrange(y, weight), affine)[0])
        if self.kind == "group":
            repeats = y.shape[1] // self.num_groups
            mean = mean.unsqueeze(2).expand(-1, -1, repeats).reshape(y.shape[:2])
            rstd = rstd.unsqueeze(2).expand(-1, -1, repeats).reshape(y.shape[:2])
        factor = promote(rstd) if weight is None else promote(rstd) * promote(weight)
        shift = -promote(mean) * factor
        if bias is not None:
            shift = shift + promote(bias)
        per_channel = (-1, y.shape[1], *[1] * (y.dim() - 2))
        return torch.addcmul(shift.view(per_channel), promote(y), factor.view(per_channel))

    def compose(self, y: Tensor, affine: Affine, statistics: Statistics) -> Tensor:
        """norm(y) as differentiable operations; a batch norm in eval has the kept statistics."""
        if self.kind == "batch":
            if self.uses_batch:
                return F.batch_norm(y, None, None, *affine, True, 0.0, self.eps)
            variance = statistics.rstd.pow(-2) - self.eps
            return F.batch_norm(y, statistics.mean, variance, *affine, False, 0.0, self.eps)
        arranged = self.arrange(y, affine.weight)
        if self.kind == "layer":
            z = F.layer_norm(arranged, self.normalized_shape, *affine, self.eps)
        else:
            z = F.group_norm(arranged, self.num_groups, *affine, self.eps)
        return self.restore(z).to(y.dtype)

    def backward(
        self,
        grad_z: Tensor,
        y: Tensor,
        affine: Affine,
        statistics: Statistics,
        mask: list[bool],
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """Gradients of y, weight and bias."""
        (weight, bias), (mean, rstd) = affine, statistics
        if self.kind == "batch":
            running = None if self.uses_batch else mean
            variance = None if self.uses_batch else rstd.pow(-2) - self.eps
            return aten.native_batch_norm_backward(
                grad_z.to(y.dtype), y, weight, running, variance, mean, rstd,
                self.uses_batch, self.eps, mask,
            )  # fmt: skip
        y_native, grad_native = self.arrange(y, weight), self.arrange(grad_z, weight)
        grad_native = grad_native.to(y_native.dtype)
        if self.kind == "layer":
            grad_y, grad_weight, grad_bias = aten.native_layer_norm_backward(
                grad_native, y_native, self.normalized_shape, mean, rstd, weight, bias, mask
            )
            grad_y = None if grad_y is None else self.restore(grad_y).to(y.dtype)
            return grad_y, grad_weight, grad_bias
        grad_y, grad_weight, grad_bias = aten.native_group_norm_backward(
            grad_native, y_native, mean, rstd, weight, *_group_sizes(y, self), mask
        )
        return None if grad_y is None else grad_y.to(y.dtype), grad_weight, grad_bias


def _group_sizes(y: Tensor, plan: NormPlan) -> tuple[int, int, int, int]:
    """N, C, H*W, number of groups."""
    return y.shape[0], y.shape[1], math.prod(y.shape[2:]), plan.num_groups


def plan_norm(y: Tensor, norm: nn.Module) -> NormPlan | None:
    """The plan of a norm, or None where torch's own path is the right one.

    Only exact types count: a subclass (SyncBatchNorm, a parametrized module) computes other things.
    Too few values per statistic, and norms of another number of channels, are left to torch, which
    raises its own errors; aten's operations would read beyond the end of the weights.
    """
    kind = type(norm)
    if has_hooks(norm) or y.numel() == 0:
        return None
    if getattr(norm, "num_features", y.shape[1]) != y.shape[1]:
        return None
    per_channel = y.numel() // y.shape[1]
    if isinstance(norm, BATCH_NORMS) and kind in BATCH_NORMS and per_channel > 1:
        norm._check_input_dim(y)
        uses_batch = norm.training or norm.running_mean is None
        return NormPlan("batch", norm.eps, uses_batch=uses_batch)
    if isinstance(norm, INSTANCE_NORMS) and kind in INSTANCE_NORMS and per_channel > y.shape[0]:
        norm._check_input_dim(y)
        # An instance norm is a group norm of one channel per group; running ones are rare.
        if norm.running_mean is None:
            return NormPlan("group", norm.eps, num_groups=y.shape[1])
    if isinstance(norm, nn.GroupNorm) and kind is nn.GroupNorm:
        crowded = y.numel() > y.shape[0] * norm.num_groups
        return NormPlan("group", norm.eps, num_groups=norm.num_groups) if crowded else None
    if isinstance(norm, nn.LayerNorm) and kind in (nn.LayerNorm, ChannelLayerNorm):
        first = kind is ChannelLayerNorm
        shape = tuple(norm.normalized_shape)
        return NormPlan("layer", norm.eps, normalized_shape=shape, channels_first=first)
    return None


def _batch_norm(y: Tensor, norm: nn.Module, uses_batch: bool) -> tuple[Tensor, Tensor, Tensor]:
    """nn.BatchNorm's forward, with its bookkeeping, returning the statistics as well."""
    assert isinstance(norm, BATCH_NORMS)
    running_mean, running_var = norm.running_mean, norm.running_var
    if not uses_batch:
        assert running_mean is not None and running_var is not None
        z = aten.native_batch_norm(
            y, norm.weight, norm.bias, running_mean, running_var, False, 0.0, norm.eps
        )[0]
        # Clones: a later training step changes the running statistics in place.
        return z, running_mean.clone(), torch.rsqrt(running_var + norm.eps)
    momentum, tracks = step_momentum(norm)
    if not tracks:
        running_mean = running_var = None
    return aten.native_batch_norm(
        y, norm.weight, norm.bias, running_mean, running_var, True, momentum, norm.eps
    )
