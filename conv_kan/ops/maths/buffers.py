"""The buffer that an expansion is written to, and the inputs as kernels read them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from conv_kan.ops.maths import scratch
from conv_kan.ops.maths.memory import memory_format
from conv_kan.ops.maths.plan import Inputs, Plan


def buffer_size(x: Tensor, plan: Plan) -> tuple[int, ...]:
    """(B, C*M, *S padded)."""
    padded = plan.geometry.padded_size(plan.size)
    return (x.shape[0], x.shape[1] * plan.expansion.num_maps, *padded)


def empty_buffer(x: Tensor, plan: Plan) -> Tensor:
    """An uninitialised buffer (B, C*M, *S padded) in the memory format of x."""
    return scratch.empty(buffer_size(x, plan), plan.dtype, x.device, memory_format(x))


def clear_extra(buffer: Tensor, size: Sequence[int]) -> None:
    """Set the extra positions of a buffer to 0; size is that of the images."""
    for dim, length in enumerate(size, start=2):
        if buffer.shape[dim] > length:
            buffer.narrow(dim, length, buffer.shape[dim] - length).zero_()


def dense_inputs(inputs: Inputs) -> Inputs:
    """x and u in one dtype, without gaps in the memory format of x: what compiled kernels read."""
    x, u, shape = inputs
    layout = memory_format(x)
    if u is not None:
        wide = torch.promote_types(x.dtype, u.dtype)
        x, u = x.to(wide), u.to(wide).contiguous(memory_format=layout)
    return Inputs(x.contiguous(memory_format=layout), u, shape)
