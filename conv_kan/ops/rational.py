"""Rational functions with one denominator per group of channels, and their gradient.

    F = P / Q,  P = sum_{m=0..n} a_m x^m,  Q = 1 + sum_{m=1..d} |b_m| |x|^m
    dF/dx   = P' / Q - S F / Q,  S = sgn(x) sum_m m |b_m| |x|^(m-1)
    dF/da_m = x^m / Q
    dF/db_m = -sgn(b_m) |x|^m F / Q

with sgn(0) = 1: a coefficient that starts at 0 can leave it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from conv_kan.ops import cupy_rational
from conv_kan.ops.backend import takes_cupy
from conv_kan.ops.channels import working_dtype
from conv_kan.ops.modes import needs_composition, only_compiles


def quotient(x: Tensor, numerator: Sequence[Tensor], denominator: Sequence[Tensor]) -> Tensor:
    """P / Q from coefficients that broadcast with x, as differentiable operations."""
    size = magnitude(x)
    q = torch.zeros_like(x)
    for b in reversed(denominator):
        q = (q + magnitude(b)) * size
    return horner(x, numerator) / (q + 1.0)


def group_rational(
    x: Tensor,
    numerator: Tensor,
    denominator: Tensor,
    channels_last: bool,
    backend: str = "torch",
) -> Tensor:
    """F of every element, the channels in groups of neighbours; training keeps x and nothing else.

    Shapes: x (..., C) if channels_last, else (B, C, *S); numerator (n + 1,); denominator (G, d)
    with G dividing C.
    Numerics: computed at least in float32, returned in the dtype of x.
    `backend` is one of conv_kan.names.BACKENDS; on a CPU it is torch that computes.
    Raises: RuntimeError if backend="cupy" cannot run -> reason and remedy.
    """
    kernels = takes_cupy(x.device.type, x.dtype, backend)
    swap = not channels_last and x.dim() > 2 and not x.is_contiguous()
    if swap:  # memory format channels_last, whose channels are the last in memory
        x = x.movedim(1, -1)
    groups = _grouped(x, denominator.shape[0], channels_last or swap)
    if kernels and (not needs_composition() or only_compiles()):
        y = cupy_rational.rational(groups.contiguous(), numerator, denominator)
    elif needs_composition():
        wide = working_dtype(x)
        a, b = _columns(numerator.to(wide), denominator.to(wide))
        y = quotient(groups.to(wide), a, b).to(x.dtype)
    else:
        y = _Rational.apply(groups, numerator, denominator)
    y = y.view(x.shape)
    return y.movedim(-1, 1) if swap else y


def magnitude(x: Tensor) -> Tensor:
    """|x| whose gradient at 0 is 1."""
    return torch.where(x >= 0, x, -x)


def horner(x: Tensor, coefficients: Sequence[Tensor]) -> Tensor:
    """sum_m c_m x^m."""
    *rest, last = coefficients
    value = last.expand_as(x)
    for c in reversed(rest):
        value = torch.addcmul(c.expand_as(x), value, x)
    return value


def _grouped(x: Tensor, num_groups: int, channels_last: bool) -> Tensor:
    """x as (N, G, M), the group in the middle."""
    if channels_last:
        return x.reshape(math.prod(x.shape[:-1]), num_groups, x.shape[-1] // num_groups)
    return x.reshape(x.shape[0], num_groups, math.prod(x.shape[1:]) // num_groups)


def _columns(numerator: Tensor, denominator: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """Coefficients that broadcast with (N, G, M)."""
    return list(numerator.unbind()), [b.unsqueeze(1) for b in denominator.unbind(1)]


class _Rational(torch.autograd.Function):
    """x (N, G, M), numerator (n + 1,), denominator (G, d) -> F, keeping the three of them."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, numerator: Tensor, denominator: Tensor) -> Tensor:
        ctx.save_for_backward(x, numerator, denominator)
        wide = working_dtype(x)
        a, b = _columns(numerator.to(wide), denominator.to(wide))
        return quotient(x.to(wide), a, b).to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor | None, ...]:
        x, numerator, denominator = ctx.saved_tensors
        wide = working_dtype(x)
        a, b = _columns(numerator.to(wide), denominator.to(wide))
        z, grad = x.to(wide), grad_y.to(wide)
        size, b_sizes = z.abs(), [c.abs() for c in b]
        inverse = 1.0 / (horner(size, [torch.zeros_like(b[0]), *b_sizes]) + 1.0)
        value = horner(z, a) * inverse
        grad_x = grad_a = grad_b = None
        if ctx.needs_input_grad[0]:
            slope = horner(z, [m * c for m, c in enumerate(a) if m])
            bend = horner(size, [m * c for m, c in enumerate(b_sizes, start=1)])
            slope = slope - torch.where(z >= 0, bend, -bend) * value
            grad_x = (slope * inverse * grad).to(x.dtype)
        inverse = inverse * grad
        if ctx.needs_input_grad[1]:
            grad_a = _power_sums(z, inverse, len(a)).sum(0).to(numerator.dtype)
        if ctx.needs_input_grad[2]:
            sums = _power_sums(size, inverse * value * size, len(b))
            signs = torch.where(denominator >= 0, -1.0, 1.0)
            grad_b = (sums * signs).to(denominator.dtype)
        return grad_x, grad_a, grad_b


def _power_sums(z: Tensor, weight: Tensor, count: int) -> Tensor:
    """sum over N and M of weight z^m for m < count: (G, count)."""
    sums = []
    for m in range(count):
        weight = weight if m == 0 else weight * z
        sums.append(weight.sum((0, 2)))
    return torch.stack(sums, dim=1)
