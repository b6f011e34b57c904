"""act(norm(y)) by compiled kernels: two passes over memory forward, two backward.

    z = w (y - mean) rstd + b,  a = act(z)

With dz = grad_a act'(z), and S the sum over what shares a mean and rstd, of N values:

    db = sum dz,  dw = rstd sum dz (y - mean)
    dy = w rstd dz - rstd^3 S(w dz (y - mean)) / N (y - mean) - rstd S(w dz) / N

without the last two terms where the statistics do not depend on y.
"""

from __future__ import annotations

import ctypes
import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from conv_kan.ops.cpp.build import TYPES, load_library
from conv_kan.ops.cpp.launch import launch
from conv_kan.ops.cpp.threads import Team, make_team
from conv_kan.ops.maths.dtypes import working_dtype
from conv_kan.ops.maths.formula import camel_case
from conv_kan.ops.maths.memory import memory_format
from conv_kan.ops.maths.norms import Affine, Statistics
from conv_kan.ops.maths.twice import differentiable_grads, graph_is_wanted

_LONG, _POINTER = ctypes.c_longlong, ctypes.c_void_p
_TENSORS = ("y", "grad_a", "out", "factor", "shift", "mean", "slope", "pull", "level", "sums")
_OPERATIONS = ("kan_moments", "kan_norm_forward", "kan_norm_sums", "kan_norm_backward")


class Call(ctypes.Structure):
    """The struct Call of norm.cpp."""

    _fields_ = (
        *((name, _POINTER) for name in _TENSORS),
        *((name, _LONG) for name in ("batch", "channels", "positions", "channels_last")),
        ("team", Team),
    )


@functools.cache
def kernels(activation: str, value: torch.dtype) -> ctypes.CDLL:
    """The library for an activation and the dtype of the map.

    Raises: CannotCompileError.
    """
    macros = ("KAN_ACTIVATION", camel_case(activation)), ("KAN_VALUE", TYPES[value])
    library = load_library("norm.cpp", macros)
    for name in _OPERATIONS:
        operation = getattr(library, name)
        operation.argtypes, operation.restype = [ctypes.POINTER(Call)], None
    return library


def moments(y: Tensor, activation: str) -> tuple[Tensor, Tensor]:
    """Mean and mean squared distance from it of every channel of every sample, in float64.

    Shapes: y (B, C, *S) -> (B, C) each, or (1, C) over all samples where there are no positions.
    """
    sums = _sums(y)
    _run("kan_moments", y, activation, sums=sums)
    mean, squares, subtracted = sums.unbind(2)
    return mean, squares / _layout(y)[2] - (mean - subtracted).square()


def _forward(y: Tensor, activation: str, factor: Tensor, shift: Tensor, slope: Tensor) -> Tensor:
    """act(factor y + shift); slope is that of "prelu", otherwise empty."""
    out = torch.empty_like(y)
    _run("kan_norm_forward", y, activation, out=out, factor=factor, shift=shift, slope=slope)
    return out


def _grad_sums(
    y: Tensor, grad_a: Tensor, activation: str, **numbers: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """With dz = grad_a act'(z): the sums of dz, of dz (y - mean), and of the slope's gradient.

    `numbers` are factor, shift, mean and slope, as (B, C) or (1, C).
    """
    sums = _sums(y)
    _run("kan_norm_sums", y, activation, grad_a=grad_a, sums=sums, **numbers)
    return sums.unbind(2)  # type: ignore[return-value]


def _backward(y: Tensor, grad_a: Tensor, activation: str, **numbers: Tensor) -> Tensor:
    """dy = factor dz - pull (y - mean) - level; `numbers` as for `_grad_sums`, pull and level."""
    out = torch.empty_like(y)
    _run("kan_norm_backward", y, activation, grad_a=grad_a, out=out, **numbers)
    return out


def _layout(y: Tensor) -> tuple[int, int, int, bool]:
    """Batch, channels, positions, and whether channels are the last in memory."""
    if y.dim() == 2:
        return 1, y.shape[1], y.shape[0], True
    last = memory_format(y) is not torch.contiguous_format
    return y.shape[0], y.shape[1], math.prod(y.shape[2:]), last


def _sums(y: Tensor) -> Tensor:
    batch, channels, *_ = _layout(y)
    return torch.empty((batch, channels, 3), dtype=torch.float64)


def _run(operation: str, y: Tensor, activation: str, **tensors: Tensor) -> None:
    batch, channels, positions, last = _layout(y)
    call = Call(batch=batch, channels=channels, positions=positions, channels_last=last)
    call.team = make_team(y.numel())
    given: dict[str, Tensor | None] = {"y": y}
    for name, tensor in tensors.items():
        if name in ("factor", "shift", "mean", "slope", "pull", "level"):
            if tensor.numel() == 0:
                continue
            tensor = tensor.to(working_dtype(y)).expand(batch, channels).contiguous()
        given[name] = tensor
    launch(kernels, (activation, y.dtype), operation, call, given)


@dataclass(frozen=True)
class Sharing:
    """What shares a mean: all samples of a channel (num_groups = 0), or a group of a sample."""

    num_groups: int
    eps: float
    from_batch: bool = True

    def pool(self, values: Tensor) -> Tensor:
        """Sums of (B, C) over what shares a mean: (1, C) or (B, G)."""
        if self.num_groups == 0:
            return values.sum(0, keepdim=True)
        return values.unflatten(1, (self.num_groups, -1)).sum(2)

    def spread(self, pooled: Tensor, channels: int) -> Tensor:
        """The transpose: (1, C) or (B, C)."""
        return pooled.repeat_interleave(channels // pooled.shape[1], 1)

    def statistics(self, y: Tensor, activation: str) -> tuple[Tensor, Tensor]:
        """Mean and (biased) variance, pooled, in float64."""
        mean, variance = moments(y, activation)
        count = self.pool(torch.ones_like(mean))
        center = self.pool(mean) / count
        apart = mean - self.spread(center, mean.shape[1])
        return center, self.pool(variance + apart.square()) / count

    def compose(self, y: Tensor, affine: Affine, statistics: Statistics) -> Tensor:
        """norm(y) as differentiable operations; in eval with the statistics given."""
        if not self.from_batch:
            mean, rstd = (t.squeeze(0).to(y.dtype) for t in statistics)
            return F.batch_norm(y, mean, rstd.pow(-2) - self.eps, *affine, False, 0.0, self.eps)
        if self.num_groups == 0:
            return F.batch_norm(y, None, None, *affine, True, 0.0, self.eps)
        return F.group_norm(y, self.num_groups, *affine, self.eps)


class Act(NamedTuple):
    """An activation: its name, which its kernel has, and the same in torch (None: identity)."""

    name: str
    function: Callable[..., Tensor] | None


def fused_norm_act(
    y: Tensor,
    affine: Affine,
    statistics: Statistics,
    sharing: Sharing,
    act: Act,
    slope: Tensor | None,
) -> Tensor:
    """act(norm(y)) for known statistics of y, which must be dense.

    Shapes: y (B, C, *S), statistics as `sharing` pools, slope (G,).
    """
    return _FusedNormAct.apply(sharing, act, y, *affine, *statistics, slope)


class _FusedNormAct(torch.autograd.Function):
    """Keeps y and its statistics."""

    @staticmethod
    def forward(
        ctx: Any,
        sharing: Sharing,
        act: Act,
        y: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        mean: Tensor,
        rstd: Tensor,
        slope: Tensor | None,
    ) -> Tensor:
        ctx.sharing, ctx.act = sharing, act
        ctx.save_for_backward(y, weight, bias, mean, rstd, slope)
        numbers = _numbers(sharing, Affine(weight, bias), Statistics(mean, rstd), slope, y.shape[1])
        del numbers["mean"]
        return _forward(y, act.name, **numbers)

    @staticmethod
    def backward(ctx: Any, grad_a: Tensor) -> tuple[Tensor | None, ...]:
        y, weight, bias, mean, rstd, slope = ctx.saved_tensors
        if graph_is_wanted():
            return (None, None, *_differentiable_grads(ctx, grad_a))
        needs_y, needs_weight, needs_bias, _, _, needs_slope = ctx.needs_input_grad[2:]
        sharing, channels = ctx.sharing, y.shape[1]
        grad_a = grad_a.to(y.dtype).contiguous(memory_format=memory_format(y))
        numbers = _numbers(sharing, Affine(weight, bias), Statistics(mean, rstd), slope, channels)
        total, product, slopes = _grad_sums(y, grad_a, ctx.act.name, **numbers)
        wide_rstd = sharing.spread(rstd, channels)
        grads: list[Tensor | None] = [None] * 4
        if needs_y:
            pull = level = total.new_empty(0)
            if sharing.from_batch:
                scaled = total.new_ones(channels) if weight is None else weight.double()
                inverse = 1.0 / (y.numel() / mean.numel())
                pull = rstd.pow(3) * sharing.pool(product * scaled) * inverse
                level = rstd * sharing.pool(total * scaled) * inverse
                pull, level = (sharing.spread(t, channels) for t in (pull, level))
            grads[0] = _backward(y, grad_a, ctx.act.name, pull=pull, level=level, **numbers)
        if needs_weight and weight is not None:
            grads[1] = (product * wide_rstd).sum(0).to(weight.dtype)
        if needs_bias and bias is not None:
            grads[2] = total.sum(0).to(bias.dtype)
        if needs_slope and slope is not None:
            grads[3] = slopes.sum(0).unflatten(0, (slope.numel(), -1)).sum(1).to(slope.dtype)
        return (None, None, *grads[:3], None, None, grads[3])


def _differentiable_grads(ctx: Any, grad_a: Tensor) -> list[Tensor | None]:
    """Gradients of (y, weight, bias, mean, rstd, slope) that can be differentiated again.

    mean and rstd are functions of y or constants, and have none of their own.
    """
    y, weight, bias, mean, rstd, slope = ctx.saved_tensors
    needs = [ctx.needs_input_grad[i] for i in (2, 3, 4, 7)]

    def composition(
        y: Tensor, weight: Tensor | None, bias: Tensor | None, slope: Tensor | None
    ) -> Tensor:
        z = ctx.sharing.compose(y, Affine(weight, bias), Statistics(mean, rstd))
        params = () if slope is None else (slope,)
        return z if ctx.act.function is None else ctx.act.function(z, *params)

    *grads, grad_slope = differentiable_grads(composition, [y, weight, bias, slope], needs, grad_a)
    return [*grads, None, None, grad_slope]


def _numbers(
    sharing: Sharing,
    affine: Affine,
    statistics: Statistics,
    slope: Tensor | None,
    channels: int,
) -> dict[str, Tensor]:
    """factor, shift, mean and slope of every channel, in float64."""
    weight, bias = affine
    mean, factor = (sharing.spread(t, channels) for t in statistics)
    if weight is not None:
        factor = factor * weight.double()
    shift = -mean * factor
    if bias is not None:
        shift = shift + bias.double()
    slopes = mean.new_empty(0)
    if slope is not None:
        slopes = slope.double().repeat_interleave(channels // slope.numel()).unsqueeze(0)
    return {"factor": factor, "shift": shift, "mean": mean, "slope": slopes}
