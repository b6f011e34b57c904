"""Rational functions F = P / Q with one denominator per group of channels; training keeps x.

P = sum_{m=0..n} a_m x^m,  Q = 1 + sum_{m=1..d} |b_m| |x|^m
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from conv_kan.ops.backend import takes_cupy
from conv_kan.ops.cupy import rational as cupy_rational
from conv_kan.ops.maths.modes import needs_composition, only_compiles
from conv_kan.ops.plain import rational as plain_rational


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
        y = plain_rational.rational(groups, numerator, denominator)
    else:
        y = _Rational.apply(groups, numerator, denominator)
    y = y.view(x.shape)
    return y.movedim(-1, 1) if swap else y


def _grouped(x: Tensor, num_groups: int, channels_last: bool) -> Tensor:
    """x as (N, G, M), the group in the middle."""
    if channels_last:
        return x.reshape(math.prod(x.shape[:-1]), num_groups, x.shape[-1] // num_groups)
    return x.reshape(x.shape[0], num_groups, math.prod(x.shape[1:]) // num_groups)


class _Rational(torch.autograd.Function):
    """x (N, G, M), numerator (n + 1,), denominator (G, d) -> F, keeping the three of them."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, numerator: Tensor, denominator: Tensor) -> Tensor:
        ctx.save_for_backward(x, numerator, denominator)
        return plain_rational.rational(x, numerator, denominator)

    @staticmethod
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor | None, ...]:
        x, numerator, denominator = ctx.saved_tensors
        needs = ctx.needs_input_grad
        return plain_rational.rational_backward(grad_y, x, numerator, denominator, needs)
