"""Several convolutions in a row in the memory format that a CPU computes them in fastest."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from conv_kan.ops.backend import uses_cpp
from conv_kan.ops.cpp import layout
from conv_kan.ops.maths.modes import needs_composition


def to_fastest_format(x: Tensor, weight: Tensor, backend: str) -> Tensor:
    """x, differentiably, as a convolution with this weight is best computed.

    `to_format` brings the result back. Without compiled kernels x stays as it is.
    """
    if needs_composition() or not uses_cpp(x, backend, lambda: layout.kernels(x.element_size())):
        return x
    return to_format(x, layout.fastest_format(x, x.numel(), weight.numel(), x.dtype))


def to_format(x: Tensor, memory_format: torch.memory_format) -> Tensor:
    """x, on a CPU, differentiably in a memory format."""
    if x.is_contiguous(memory_format=memory_format):
        return x
    return _InFormat.apply(x, memory_format)


class _InFormat(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, memory_format: torch.memory_format) -> Tensor:
        ctx.given = layout.memory_format(x)
        return layout.in_format(x, memory_format)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return to_format(grad, ctx.given), None
