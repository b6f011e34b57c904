"""The group rational by the CUDA kernels of cuda/rational.cu, as operators of torch.

Registered with fake implementations and autograd: a compiler takes them as they are.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from conv_kan.ops.cupy import launch
from conv_kan.ops.cupy.sources import Kernel, instance
from conv_kan.ops.maths.dtypes import working_dtype
from conv_kan.ops.maths.twice import differentiable_grads, graph_is_wanted
from conv_kan.ops.plain import rational as plain_rational

_PACK_BYTES = 16  # of one load


@torch.library.custom_op("conv_kan::rational", mutates_args=())
def rational(x: Tensor, numerator: Tensor, denominator: Tensor) -> Tensor:
    """F of x (N, G, M), which is contiguous; numerator (n + 1,), denominator (G, d)."""
    y = torch.empty_like(x)
    if x.numel():
        _launch("rational_forward", x, numerator, denominator, [x], [y])
    return y


@rational.register_fake
def _(x: Tensor, numerator: Tensor, denominator: Tensor) -> Tensor:
    return torch.empty_like(x)


@torch.library.custom_op("conv_kan::rational_backward", mutates_args=())
def rational_backward(
    grad_y: Tensor, x: Tensor, numerator: Tensor, denominator: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x, numerator and denominator.

    Numerics: those of the coefficients are summed in the dtype of the arithmetic by each thread, in
    float64 over a block and over blocks, in an order that is the same in every run.
    """
    grad_x = torch.empty_like(x)
    groups, count = denominator.shape[0], len(numerator) + denominator.shape[1]
    chunks = 0
    if x.numel():
        chunks = launch.cover_rows(x.numel() // groups // _pack(x, grad_y), groups, x.device)
    sums = x.new_empty((groups, chunks, count), dtype=torch.float64)
    if x.numel():
        outputs = [grad_x, sums]
        _launch("rational_backward", x, numerator, denominator, [x, grad_y], outputs, chunks)
    grads = sums.sum(1)
    grad_a, grad_b = grads[:, : len(numerator)].sum(0), grads[:, len(numerator) :]
    return grad_x, grad_a.to(numerator.dtype), grad_b.to(denominator.dtype, copy=True)


@rational_backward.register_fake
def _(
    grad_y: Tensor, x: Tensor, numerator: Tensor, denominator: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    return torch.empty_like(x), torch.empty_like(numerator), torch.empty_like(denominator)


def _keep(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor | None, ...]:
    if graph_is_wanted():
        needs = ctx.needs_input_grad
        return tuple(
            differentiable_grads(plain_rational.rational, ctx.saved_tensors, needs, grad_y)
        )
    grads: tuple[Tensor, Tensor, Tensor] = rational_backward(
        grad_y.contiguous(), *ctx.saved_tensors
    )
    return grads


rational.register_autograd(_backward, setup_context=_keep)


def _pack(*tensors: Tensor) -> int:
    """The elements of one load: a power of two that divides M."""
    first, largest = tensors[0], max(t.element_size() for t in tensors)
    for pack in (4, 2):
        # float64 divides by a subroutine, which leaves no registers for a second element.
        fits = largest < 8 and pack * largest <= _PACK_BYTES and first.shape[2] % pack == 0
        if fits and launch.is_aligned(tensors, pack):
            return pack
    return 1


def _launch(
    name: str,
    x: Tensor,
    numerator: Tensor,
    denominator: Tensor,
    inputs: list[Tensor],
    outputs: list[Tensor],
    chunks: int | None = None,
) -> None:
    """Start the kernel; `chunks` blocks serve each group, by default as many as are useful."""
    wide, (outer, groups, inner) = working_dtype(x), x.shape
    pack = _pack(*inputs)
    index, number = launch.index_type(x.numel())
    if chunks is None:
        chunks = launch.cover(outer * inner // pack)
    orders = (len(numerator), denominator.shape[1])
    expression = instance(name, x.dtype, index, pack, *orders)
    coefficients = [t.to(wide).contiguous() for t in (numerator, denominator)]
    sizes = [number(outer), number(inner // pack), np.int32(groups)]
    launch.launch(
        Kernel("rational.cu", expression),
        groups * chunks,
        [*inputs, *coefficients, *outputs, *sizes],
        x.device,
    )
