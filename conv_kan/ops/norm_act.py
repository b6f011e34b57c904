"""a = act(norm(y)) that keeps y and the statistics of the norm; norm(y) is computed again.

Composed naively, the norm keeps y and the activation keeps norm(y): two maps instead of one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from conv_kan.ops.backend import uses_cpp
from conv_kan.ops.cpp.launch import TYPES
from conv_kan.ops.cpp.norm import kernels
from conv_kan.ops.expand import memory_format, promote
from conv_kan.ops.fused_norm_act import Sharing, fused_norm_act
from conv_kan.ops.modes import needs_composition

aten = torch.ops.aten
Activation = Callable[..., Tensor]


class ChannelLayerNorm(nn.LayerNorm):
    """Layer normalisation over the channels at every position of (B, C, *S)."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.movedim(1, -1)).movedim(-1, 1)


def norm_act(
    y: Tensor,
    norm: nn.Module | None,
    act: Activation | None,
    act_params: Sequence[Tensor] = (),
    name: str | None = None,
    backend: str = "torch",
) -> Tensor:
    """a = act(norm(y), *act_params); None stands for the identity.

    For the batch, instance, group and layer norms of torch, the training step keeps y and the
    statistics. Any other norm module, and any norm with hooks, is composed in the plain way.
    Running statistics, momentum=None, num_batches_tracked and eval mode are torch's. With the
    `name` of the activation, compiled kernels may serve batch, instance and group norms.
    Shapes: y, a (B, C, *S).
    Numerics: a has the dtype of y. Where y and the parameters of a group or layer norm differ in
    dtype, it is computed in the dtype of the parameters; compiled kernels compute in float32, or
    float64 for float64.
    """
    if norm is None:
        return y if act is None else act(y, *act_params).to(y.dtype)
    plan = None if needs_composition() else _plan(y, norm)
    if plan is not None and plan.kind != "layer":
        name = "identity" if act is None else name
        if name is not None and fuses(y, name, backend):
            with torch.autocast(device_type=y.device.type, enabled=False):
                return _fused(plan, y, norm, name, act_params)
    if plan is None or act is None or not torch.is_grad_enabled():
        z = norm(y)
        return (z if act is None else act(z, *act_params)).to(y.dtype)
    with torch.autocast(device_type=y.device.type, enabled=False):
        with torch.no_grad():
            z, mean, rstd = plan.normalize(y, norm)
        return _NormAct.apply(plan, act, y, norm.weight, norm.bias, z, mean, rstd, *act_params)


def fuses(y: Tensor, activation: str, backend: str) -> bool:
    """Whether compiled kernels compute this norm and activation."""
    return y.dtype in TYPES and uses_cpp(y, backend, lambda: kernels(activation, y.dtype))


def _fused(
    plan: _Plan, y: Tensor, norm: nn.Module, activation: str, act_params: Sequence[Tensor]
) -> Tensor:
    """act(norm(y)) by compiled kernels."""
    y = y.contiguous(memory_format=memory_format(y))
    sharing = Sharing(plan.num_groups, plan.eps, plan.kind == "group" or plan.uses_batch)
    with torch.no_grad():
        if sharing.from_batch:
            mean, variance = sharing.statistics(y, activation)
            if plan.kind == "batch":
                _update_running(norm, mean, variance, y.numel() // y.shape[1])
        else:
            running = cast(Tensor, norm.running_mean), cast(Tensor, norm.running_var)
            mean, variance = (t.double().unsqueeze(0) for t in running)
    weight, bias = cast("Tensor | None", norm.weight), cast("Tensor | None", norm.bias)
    slope = act_params[0] if act_params else None
    return fused_norm_act(y, weight, bias, mean, variance, activation, slope, sharing)


@dataclass(frozen=True)
class _Plan:
    """How a norm of torch maps to aten's native operations."""

    kind: str  # "batch", "group" or "layer"
    eps: float
    num_groups: int = 0  # group
    normalized_shape: tuple[int, ...] = ()  # layer
    channels_first: bool = False  # layer: over dimension 1 instead of the last
    uses_batch: bool = True  # batch: statistics of the batch, not the running ones

    def normalize(self, y: Tensor, norm: nn.Module) -> tuple[Tensor, Tensor, Tensor]:
        """norm(y), the mean and 1 / sqrt(variance + eps)."""
        if self.kind == "batch":
            return _batch_norm(y, norm, self.uses_batch)
        weight, bias = cast("Tensor | None", norm.weight), cast("Tensor | None", norm.bias)
        z, mean, rstd = self._native(self.arrange(y, weight), weight, bias)
        return self.restore(z).to(y.dtype), mean, rstd

    def arrange(self, y: Tensor, weight: Tensor | None) -> Tensor:
        """y as the native operation of a group or layer norm takes it."""
        if weight is not None:
            y = y.to(weight.dtype)
        if self.kind == "layer":
            return y.movedim(1, -1).contiguous() if self.channels_first else y.contiguous()
        return y.contiguous()

    def restore(self, z: Tensor) -> Tensor:
        return z.movedim(-1, 1) if self.channels_first else z

    def _native(
        self, y: Tensor, weight: Tensor | None, bias: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        if self.kind == "layer":
            return aten.native_layer_norm(y, self.normalized_shape, weight, bias, self.eps)
        return aten.native_group_norm(y, weight, bias, *_group_sizes(y, self), self.eps)

    def recompute(
        self, y: Tensor, weight: Tensor | None, bias: Tensor | None, mean: Tensor, rstd: Tensor
    ) -> Tensor:
        """norm(y) from the kept statistics; one pass over y."""
        if self.kind == "layer":
            return self.restore(self._native(self.arrange(y, weight), weight, bias)[0])
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

    def backward(
        self,
        grad_z: Tensor,
        y: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        mean: Tensor,
        rstd: Tensor,
        mask: list[bool],
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """Gradients of y, weight and bias."""
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


def _group_sizes(y: Tensor, plan: _Plan) -> tuple[int, int, int, int]:
    """N, C, H*W, number of groups."""
    return y.shape[0], y.shape[1], math.prod(y.shape[2:]), plan.num_groups


BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_INSTANCE = (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)


def has_hooks(norm: nn.Module) -> bool:
    """Whether somebody listens to this norm, which must then be called."""
    return bool(norm._forward_hooks or norm._forward_pre_hooks or norm._backward_hooks)


def _plan(y: Tensor, norm: nn.Module) -> _Plan | None:
    """The plan of a norm, or None where torch's own path is the right one.

    Only exact types count: a subclass (SyncBatchNorm, a parametrized module) computes other things.
    Too few values per statistic are left to torch, which raises its own errors.
    """
    kind = type(norm)
    if has_hooks(norm) or y.numel() == 0:
        return None
    per_channel = y.numel() // y.shape[1]
    if isinstance(norm, BATCH_NORMS) and kind in BATCH_NORMS and per_channel > 1:
        norm._check_input_dim(y)
        uses_batch = norm.training or norm.running_mean is None
        return _Plan("batch", norm.eps, uses_batch=uses_batch)
    if isinstance(norm, _INSTANCE) and kind in _INSTANCE and per_channel > y.shape[0]:
        norm._check_input_dim(y)
        # An instance norm is a group norm of one channel per group; running ones are rare.
        if norm.running_mean is None:
            return _Plan("group", norm.eps, num_groups=y.shape[1])
    if isinstance(norm, nn.GroupNorm) and kind is nn.GroupNorm:
        crowded = y.numel() > y.shape[0] * norm.num_groups
        return _Plan("group", norm.eps, num_groups=norm.num_groups) if crowded else None
    if isinstance(norm, nn.LayerNorm) and kind in (nn.LayerNorm, ChannelLayerNorm):
        first = kind is ChannelLayerNorm
        shape = tuple(norm.normalized_shape)
        return _Plan("layer", norm.eps, normalized_shape=shape, channels_first=first)
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
    momentum, tracks = _momentum(norm)
    if not tracks:
        running_mean = running_var = None
    return aten.native_batch_norm(
        y, norm.weight, norm.bias, running_mean, running_var, True, momentum, norm.eps
    )


def _momentum(norm: nn.Module) -> tuple[float, bool]:
    """The momentum of this step, which is counted, and whether running statistics follow it."""
    assert isinstance(norm, BATCH_NORMS)
    momentum = 0.0 if norm.momentum is None else norm.momentum
    tracks = norm.training and norm.track_running_stats
    if tracks and norm.num_batches_tracked is not None:
        norm.num_batches_tracked.add_(1)
        if norm.momentum is None:  # cumulative average
            momentum = 1.0 / float(norm.num_batches_tracked)
    return momentum, tracks


def _update_running(norm: nn.Module, mean: Tensor, variance: Tensor, count: int) -> None:
    """Move the running statistics towards those of a batch of `count` values per channel."""
    assert isinstance(norm, BATCH_NORMS)
    momentum, tracks = _momentum(norm)
    if not tracks or norm.running_mean is None or norm.running_var is None:
        return
    unbiased = variance * (count / (count - 1))
    for running, value in ((norm.running_mean, mean), (norm.running_var, unbiased)):
        running.mul_(1.0 - momentum).add_(value.squeeze(0).to(running.dtype), alpha=momentum)


class _NormAct(torch.autograd.Function):
    """act(z) for z = norm(y) already computed; keeps y in its place."""

    @staticmethod
    def forward(
        plan: _Plan,
        act: Activation,
        y: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        z: Tensor,
        mean: Tensor,
        rstd: Tensor,
        *act_params: Tensor,
    ) -> Tensor:
        return act(z, *act_params)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.plan, ctx.act, y, weight, bias, _, mean, rstd, *act_params = inputs
        ctx.save_for_backward(y, weight, bias, mean, rstd, *act_params)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_a: Tensor) -> tuple[Tensor | None, ...]:
        y, weight, bias, mean, rstd, *act_params = ctx.saved_tensors
        needs_y, needs_weight, needs_bias, _, _, _, *needs_params = ctx.needs_input_grad[2:]
        mask = [needs_y, needs_weight, needs_bias]
        with torch.autocast(device_type=y.device.type, enabled=False):
            z = ctx.plan.recompute(y, weight, bias, mean, rstd)
            grad_z, *grad_params = _pull_back_act(
                ctx.act, grad_a, z, act_params, [any(mask), *needs_params]
            )
            grads: tuple[Tensor | None, ...] = (None, None, None)
            if grad_z is not None:
                grads = ctx.plan.backward(grad_z, y, weight, bias, mean, rstd, mask)
        # Native operations may fill what the mask leaves out.
        kept = [grad if need else None for grad, need in zip(grads, mask, strict=True)]
        return (None, None, *kept, None, None, None, *grad_params)


def _pull_back_act(
    act: Activation, grad_a: Tensor, z: Tensor, params: Sequence[Tensor], needs: Sequence[bool]
) -> list[Tensor | None]:
    """Gradients of act(z, *params) in z and params, where needed."""
    with torch.enable_grad():
        leaves = [
            t.detach().requires_grad_(need) for t, need in zip([z, *params], needs, strict=True)
        ]
        a = act(*leaves)
    wanted = [leaf for leaf in leaves if leaf.requires_grad]
    if not wanted:
        return [None] * len(leaves)
    found = iter(torch.autograd.grad(a, wanted, grad_a.to(a.dtype)))
    return [next(found) if leaf.requires_grad else None for leaf in leaves]
