"""Rational functions F = P / Q with one denominator per group of channels; training keeps x.

P = sum_{m=0..n} a_m x^m,  Q = 1 + sum_{m=1..d} |b_m| |x|^m
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from conv_kan.ops.backend import takes_cupy, uses_cpp
from conv_kan.ops.cpp import rational as cpp_rational
from conv_kan.ops.cpp.build import TYPES
from conv_kan.ops.cupy import rational as cupy_rational
from conv_kan.ops.maths.modes import needs_composition, only_compiles
from conv_kan.ops.maths.twice import differentiable_grads, graph_is_wanted
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
    Numerics: as conv_kan.layers.GroupRational.
    `backend` is one of conv_kan.names.BACKENDS.
    Raises: RuntimeError if an explicit backend cannot run -> reason and remedy.
    """
    if denominator.shape[1] == 0:  # Q = 1
        denominator = F.pad(denominator, (0, 1))
    cupy = takes_cupy(x.device.type, x.dtype, backend)
    swap = not channels_last and x.dim() > 2 and not x.is_contiguous()
    if swap:  # memory format channels_last, whose channels are the last in memory
        x = x.movedim(1, -1)
    groups = _grouped(x, denominator.shape[0], channels_last or swap)
    if cupy and (not needs_composition() or only_compiles()):
        y = cupy_rational.rational(groups.contiguous(), numerator, denominator)
    elif needs_composition():
        y = plain_rational.rational(groups, numerator, denominator)
    else:
        y = _Rational.apply(
            _module(groups, numerator, denominator, backend), groups, numerator, denominator
        )
    y = y.view(x.shape)
    return y.movedim(-1, 1) if swap else y


def _grouped(x: Tensor, num_groups: int, channels_last: bool) -> Tensor:
    """x as (N, G, M), the group in the middle."""
    if channels_last:
        return x.reshape(math.prod(x.shape[:-1]), num_groups, x.shape[-1] // num_groups)
    return x.reshape(x.shape[0], num_groups, math.prod(x.shape[1:]) // num_groups)


def _module(x: Tensor, numerator: Tensor, denominator: Tensor, backend: str) -> Any:
    """Who computes: the kernels for CPUs, or torch."""
    orders = len(numerator), denominator.shape[1]
    compiled = x.dtype in TYPES and uses_cpp(
        x, backend, lambda: cpp_rational.kernels(x.dtype, *orders)
    )
    return cpp_rational if compiled else plain_rational


class _Rational(torch.autograd.Function):
    """x (N, G, M), numerator (n + 1,), denominator (G, d) -> F, keeping the three of them."""

    @staticmethod
    def forward(ctx: Any, module: Any, x: Tensor, numerator: Tensor, denominator: Tensor) -> Tensor:
        x = x.contiguous()
        ctx.module = module
        ctx.save_for_backward(x, numerator, denominator)
        y: Tensor = module.rational(x, numerator, denominator)
        return y

    @staticmethod
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor | None, ...]:
        saved, needs = ctx.saved_tensors, ctx.needs_input_grad[1:]
        if graph_is_wanted():
            return (None, *differentiable_grads(plain_rational.rational, saved, needs, grad_y))
        return (None, *ctx.module.rational_backward(grad_y, *saved, needs))
