"""The expansion and its gradient by the CUDA kernels of cuda/expand.cu.

The functions have the signatures of conv_kan.ops.plain, which is the reference. Autograd, the
convolution and torch.compile are the business of conv_kan.ops.expand_conv: under a compiler it
takes the plain composition, which Inductor fuses itself. Inside a CUDA graph the kernels run like
any other, after one step outside of it, which compiles and loads them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from conv_kan.ops.cupy import launch
from conv_kan.ops.cupy.sources import Kernel, instance
from conv_kan.ops.maths.buffers import clear_extra, dense_inputs, empty_buffer
from conv_kan.ops.maths.expansion import Expansion
from conv_kan.ops.maths.formula import camel_case, pack_shape, unpack_grad
from conv_kan.ops.maths.memory import memory_format
from conv_kan.ops.maths.plan import Inputs, Plan, Wanted

FLAT, LAST, COLUMNS = 0, 1, 2  # Layout of cuda/expand.cu
_PACK_BYTES = 16  # of one load
_BLOCK_BYTES = 256  # of the maps that one thread holds in registers


def why_not(value: torch.dtype, stored: torch.dtype, expansion: Expansion) -> str | None:
    """Why the kernels cannot serve these dtypes, with the remedy; None if they can."""
    reason = launch.why_not(value)
    if reason is not None:
        return reason
    if expansion.formula is None:
        return "this basis has no formula in cuda/bases.cuh. Pass backend='torch'."
    if expansion.base is not None and expansion.base_name is None:
        return "this base function is none of cuda/activations.cuh. Pass backend='torch'."
    return None


@dataclass(frozen=True)
class _Walk:
    """How the elements of x and the buffer lie in memory, and how a kernel goes through them."""

    layout: int
    padded: bool
    pack: int
    index: str
    number: type
    packs: int
    sizes: tuple[int, ...]  # the last arguments of the kernels

    @property
    def arguments(self) -> list[np.generic]:
        return [self.number(n) for n in (self.packs, *self.sizes)]


def expand_inputs(inputs: Inputs, plan: Plan) -> Tensor:
    """The expansion e in one buffer of the convolution's dtype."""
    expansion = plan.expansion
    buffer = empty_buffer(inputs.x, plan)
    if inputs.x.numel():
        x, u, shape = dense_inputs(inputs)
        packed = _packed_shape(shape, expansion, x)
        walk = _walk(x, u, buffer, packed, expansion, backward=False)
        name = instance(
            "expand_forward", x.dtype, plan.dtype, walk.index, walk.pack, walk.layout, walk.padded
        )
        launch.launch(
            Kernel("expand.cu", name, _macros(expansion, u)),
            launch.cover(walk.packs),
            [x, u, packed, buffer, *walk.arguments],
            x.device,
        )
    clear_extra(buffer, plan.size)
    return buffer


def pull_back(buffer: Tensor, inputs: Inputs, plan: Plan, wanted: Wanted) -> list[Tensor | None]:
    """The gradients of (x, u, *shape), where they are wanted; see the reference.

    Numerics: the gradient of a learned shape is summed in float32 (float64 for float64), by atomic
    additions of one number per block and coefficient, in an order that varies; under
    torch.use_deterministic_algorithms the blocks' numbers are stored and added in a fixed order.
    """
    expansion, needs = plan.expansion, wanted.grads
    sources: list[Tensor | None] = [inputs.x, inputs.u, *inputs.shape]
    x, u, shape = dense_inputs(inputs)
    packed = _packed_shape(shape, expansion, x)
    grads: list[Tensor | None] = [None] * len(sources)
    for i, source in enumerate((x, u)):
        grads[i] = torch.empty_like(source) if needs[i] and source is not None else None
    packed_grad = torch.zeros_like(packed) if packed is not None and any(needs[2:]) else None
    if x.numel():
        _launch_backward(x, u, packed, buffer, grads[:2], packed_grad, wanted.refill, expansion)
    if packed_grad is not None and expansion.formula is not None:
        grads[2:] = unpack_grad(packed_grad, shape, expansion.formula, x)
    if wanted.refill:
        clear_extra(buffer, plan.size)
    return [
        grad.to(source.dtype) if need and grad is not None and source is not None else None
        for grad, source, need in zip(grads, sources, needs, strict=True)
    ]


def _launch_backward(
    x: Tensor,
    u: Tensor | None,
    packed: Tensor | None,
    buffer: Tensor,
    grads: Sequence[Tensor | None],
    packed_grad: Tensor | None,
    refill: bool,
    expansion: Expansion,
) -> None:
    """Run the backward kernel, which fills the gradients of x, u and the packed shape."""
    store = torch.are_deterministic_algorithms_enabled()
    walk = _walk(x, u, buffer, packed, expansion, backward=True)
    blocks, chunks = _blocks(walk, packed, x)
    sums = None
    if packed_grad is not None:
        sums = _sums(walk, packed_grad, x, chunks if store else 1)
    name = instance(
        "expand_backward",
        *(x.dtype, buffer.dtype, walk.index, walk.pack, walk.layout, walk.padded, refill, store),
    )
    launch.launch(
        Kernel("expand.cu", name, _macros(expansion, u)),
        blocks,
        [x, u, packed, buffer, *grads, sums, *walk.arguments],
        x.device,
    )
    if sums is not None and packed_grad is not None:
        # What the blocks stored, and the channels that share a row, in a fixed order.
        if walk.layout == COLUMNS:
            sums = sums.sum(0).view(-1, *packed_grad.shape).transpose(0, 1)
        packed_grad.copy_(sums.sum(1))


def _blocks(walk: _Walk, packed: Tensor | None, x: Tensor) -> tuple[int, int]:
    """The number of blocks of a backward kernel, and how many of them share a row of the shape."""
    if packed is None:
        return launch.cover(walk.packs), 1
    if walk.layout == COLUMNS:
        channels = x.shape[1]
        tiles, pixels = -(-channels // 32), x.numel() // channels
        chunks = launch.cover_rows(pixels, tiles, x.device, launch.THREADS // 32)
        return tiles * chunks, chunks
    rows = packed.shape[0]
    chunks = launch.cover_rows(walk.packs // rows, rows, x.device)
    return rows * chunks, chunks


def _sums(walk: _Walk, packed_grad: Tensor, x: Tensor, chunks: int) -> Tensor:
    """Zeros where blocks leave the gradient of the shape: (chunks, C, S) or (rows, chunks, S)."""
    rows, size = packed_grad.shape
    shape = (chunks, x.shape[1], size) if walk.layout == COLUMNS else (rows, chunks, size)
    return packed_grad.new_zeros(shape, dtype=torch.float64)


def _packed_shape(shape: Sequence[Tensor], expansion: Expansion, x: Tensor) -> Tensor | None:
    assert expansion.formula is not None
    return pack_shape([t.detach() for t in shape], expansion.formula, x)


def _macros(expansion: Expansion, u: Tensor | None) -> tuple[tuple[str, str], ...]:
    formula = expansion.formula
    assert formula is not None
    macros = [("KAN_BASIS", formula.name), *formula.macros]
    if expansion.base is not None:
        macros.append(("KAN_BASE", camel_case(str(expansion.base_name))))
    if u is not None:
        macros.append(("KAN_SEPARATE", "1"))
    return tuple(macros)


def _walk(
    x: Tensor,
    u: Tensor | None,
    buffer: Tensor,
    packed: Tensor | None,
    expansion: Expansion,
    backward: bool,
) -> _Walk:
    """x is dense; the buffer has its memory format, and extra positions if it is padded."""
    channels, size, padded_size = x.shape[1], x.shape[2:], buffer.shape[2:]
    padded, positions = size != padded_size, size.numel()
    rows = 1 if packed is None else packed.shape[0]
    last = memory_format(x) != torch.contiguous_format or (positions == 1 and not padded)
    layout = LAST if last else FLAT
    if last and rows > 1 and backward:
        layout = COLUMNS
    run = x.numel() if last else positions  # elements in a row
    pack = 1
    if not padded and layout != COLUMNS:
        pack = _pack(run, expansion.num_maps, [x, u, buffer])
    index, number = launch.index_type(buffer.numel())
    height, width = ([1, 1, *size])[-2:]
    padded_height, padded_width = ([1, 1, *padded_size])[-2:]
    sizes = (positions, channels, rows, padded_size.numel())
    return _Walk(
        layout,
        padded,
        pack,
        index,
        number,
        x.numel() // pack,
        (*sizes, height, width, padded_height, padded_width),
    )


def _pack(run: int, num_maps: int, tensors: Sequence[Tensor | None]) -> int:
    """The elements of one load: a power of two that divides the run and fits the registers."""
    largest = max(t.element_size() for t in tensors if t is not None)
    for pack in (4, 2):
        fits = pack * largest <= _PACK_BYTES and pack * largest * num_maps <= _BLOCK_BYTES
        if fits and run % pack == 0 and launch.is_aligned(tensors, pack):
            return pack
    return 1
