"""The buffer that an expansion is written to."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from conv_kan.ops.maths import scratch
from conv_kan.ops.maths.expansion import Expansion
from conv_kan.ops.maths.geometry import Geometry
from conv_kan.ops.maths.memory import memory_format


def buffer_size(x: Tensor, expansion: Expansion, geometry: Geometry) -> tuple[int, ...]:
    """(B, C*M, *S padded)."""
    return (x.shape[0], x.shape[1] * expansion.num_maps, *geometry.padded_size(x.shape[2:]))


def empty_buffer(x: Tensor, expansion: Expansion, geometry: Geometry, dtype: torch.dtype) -> Tensor:
    """An uninitialised buffer (B, C*M, *S padded) in the memory format of x."""
    return scratch.empty(buffer_size(x, expansion, geometry), dtype, x.device, memory_format(x))


def clear_extra(buffer: Tensor, size: Sequence[int]) -> None:
    """Set the extra positions of a buffer to 0."""
    for dim, length in enumerate(size[2:], start=2):
        if buffer.shape[dim] > length:
            buffer.narrow(dim, length, buffer.shape[dim] - length).zero_()


def dense_inputs(x: Tensor, u: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """x and u in one dtype, without gaps in the memory format of x: what compiled kernels read."""
    layout = memory_format(x)
    if u is not None:
        wide = torch.promote_types(x.dtype, u.dtype)
        x, u = x.to(wide), u.to(wide).contiguous(memory_format=layout)
    return x.contiguous(memory_format=layout), u
