"""The expansion of every channel into functions of it, and its gradient.

    e = [base(x_c), phi_n(u_c), ..., phi_{K-1}(u_c)]    for every channel c

The n leading functions of a basis are constant and are left out here: nothing about them depends on
the sample. `expand_inputs` and `pull_back` are the reference for the compiled kernels that
conv_kan.ops.backend may put in their place.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from conv_kan.ops.maths.buffers import clear_extra, empty_buffer
from conv_kan.ops.maths.dtypes import promote
from conv_kan.ops.maths.expansion import Expansion
from conv_kan.ops.maths.memory import memory_format
from conv_kan.ops.maths.plan import Inputs, Plan, Wanted

# Elements of one tile. The temporaries of the functions exist for one tile at a time, which bounds
# the memory they take; larger tiles are not faster.
_TILE, _TILE_CPU = 1 << 24, 1 << 20


def expand_inputs(inputs: Inputs, plan: Plan) -> Tensor:
    """The expansion e in one buffer of the convolution's dtype.

    Shapes: x, u (B, C, *S) -> (B, C*M, *S + extra), index c*M + m. The extra positions are 0.
    """
    x, u, shape = inputs
    buffer = empty_buffer(x, plan)
    rows = channel_maps(buffer, x.shape[1], plan)
    for tile in tiles(x):
        local_u = None if u is None else cut(u, tile, 2)
        _write(cut(rows, tile, 3), plan.expansion.maps(cut(x, tile, 2), local_u, shape))
    clear_extra(buffer, plan.size)
    return buffer


def pull_back(buffer: Tensor, inputs: Inputs, plan: Plan, wanted: Wanted) -> list[Tensor | None]:
    """The gradient of sum(buffer * e) in (x, u, *shape), where it is wanted.

    On entry the buffer holds the gradient of e. With `refill` it holds e itself on return: the
    functions are computed once for both, and one buffer is enough for the whole backward pass.
    The graph of the functions exists for one tile at a time.
    """
    x, u, shape = inputs
    sources: list[Tensor | None] = [x, u, *shape]
    needs = [need and s is not None for need, s in zip(wanted.grads, sources, strict=True)]
    grads = [
        _accumulator(source, is_input=i < 2) if need and source is not None else None
        for i, (need, source) in enumerate(zip(needs, sources, strict=True))
    ]
    rows = channel_maps(buffer, x.shape[1], plan)
    for tile in tiles(x):
        block = cut(rows, tile, 3)
        local = [cut(x, tile, 2), None if u is None else cut(u, tile, 2), *shape]
        maps, found = _pull_back_tile(block, local, plan.expansion, needs)
        for i, (grad, target) in enumerate(zip(found, grads, strict=True)):
            if grad is None or target is None:
                continue
            if i < 2:
                cut(target, tile, 2).copy_(grad)
            else:
                target.add_(grad)
        if wanted.refill:  # only now: a gradient may be a view of the block
            _write(block, maps)
    if wanted.refill:
        clear_extra(buffer, plan.size)
    return [
        None if grad is None or source is None else grad.to(source.dtype)
        for grad, source in zip(grads, sources, strict=True)
    ]


def _accumulator(source: Tensor, is_input: bool) -> Tensor:
    """Zeros to gather a gradient in: in float32 for shapes, which sum over many elements."""
    dtype = source.dtype if is_input else promote(source).dtype
    return torch.zeros_like(source, dtype=dtype)


def _pull_back_tile(
    block: Tensor,
    local: Sequence[Tensor | None],
    expansion: Expansion,
    needs: Sequence[bool],
) -> tuple[list[Tensor], list[Tensor | None]]:
    """The maps of one tile and the gradients of its sources; block is (b, C, M, *s)."""
    with torch.enable_grad():
        leaves = [
            None if source is None else source.detach().requires_grad_(need)
            for source, need in zip(local, needs, strict=True)
        ]
        x, u, *shape = leaves
        assert x is not None
        maps = expansion.maps(x, u, [s for s in shape if s is not None])
    inputs = [leaf for leaf in leaves if leaf is not None and leaf.requires_grad]
    # A map may depend on nothing that is wanted (base(x) when only u is, a spline of order 0).
    live = [m for m, values in enumerate(maps) if values.requires_grad]
    if not live or not inputs:
        return maps, [None] * len(leaves)
    outputs = [maps[m] for m in live]
    grad_outputs = [block[:, :, m].to(maps[m].dtype) for m in live]
    found = iter(torch.autograd.grad(outputs, inputs, grad_outputs, allow_unused=True))
    grads = [next(found) if leaf is not None and leaf.requires_grad else None for leaf in leaves]
    return maps, grads


def why_not(value: torch.dtype, stored: torch.dtype, expansion: Expansion) -> str | None:
    """Nothing keeps torch from computing this."""
    return None


def fastest_format(x: Tensor, buffer: int, weight: int, dtype: torch.dtype) -> torch.memory_format:
    """The memory format of x: a change of it costs torch more than it gains."""
    return memory_format(x)


def in_format(x: Tensor, layout: torch.memory_format) -> Tensor:
    """x in this memory format."""
    return x.contiguous(memory_format=layout)


def _write(block: Tensor, maps: Sequence[Tensor]) -> None:
    """Write the maps of one tile into its block (b, C, M, *s) of a buffer."""
    for m, values in enumerate(maps):
        block[:, :, m].copy_(values.detach())


def channel_maps(buffer: Tensor, channels: int, plan: Plan) -> Tensor:
    """View a buffer (B, C*M, *S + extra) as (B, C, M, *S), without the extra positions."""
    rows = buffer.unflatten(1, (channels, plan.expansion.num_maps))
    for dim, length in enumerate(plan.size, start=3):
        rows = rows.narrow(dim, 0, length)
    return rows


def tiles(x: Tensor) -> Iterator[tuple[slice, slice]]:
    """Blocks of (samples, positions of the first spatial dimension) that cover x."""
    batch, height = x.shape[0], x.shape[2] if x.dim() > 2 else 1
    limit = _TILE_CPU if x.device.type == "cpu" else _TILE
    per_sample = max(x.numel() // max(batch, 1), 1)
    num_samples = max(limit // per_sample, 1)
    num_rows = height if num_samples > 1 else max(limit * height // per_sample, 1)
    for b in range(0, batch, num_samples):
        for h in range(0, height, num_rows):
            yield slice(b, b + num_samples), slice(h, min(h + num_rows, height))


def cut(tensor: Tensor, tile: tuple[slice, slice], dim: int) -> Tensor:
    """One tile of a tensor whose first spatial dimension is `dim`."""
    samples, rows = tile
    if tensor.dim() <= dim:
        return tensor[samples]
    return tensor[samples].narrow(dim, rows.start, rows.stop - rows.start)
