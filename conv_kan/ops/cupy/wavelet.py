"""The wavelets of all edges by the CUDA kernels of cuda/wavelet.cu.

conv_kan.ops.plain.wavelet is the reference.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from conv_kan.ops.cupy import launch
from conv_kan.ops.cupy.sources import Kernel, instance
from conv_kan.ops.maths.edges import Edges
from conv_kan.ops.maths.formula import camel_case
from conv_kan.ops.maths.taps import add_taps, take_taps

MAX_TAPS = 125  # a thread holds one number for each
_TILE = 1 << 24  # elements of the taps of one tile of outputs


def fits(kernel_size: Sequence[int], backend: str) -> bool:
    """Whether a thread can hold the taps of a window; if not, torch computes.

    Raises: RuntimeError for a window that is too large and backend="cupy".
    """
    taps = math.prod(kernel_size)
    if taps > MAX_TAPS and backend == "cupy":
        raise RuntimeError(
            f"backend='cupy' takes windows of at most {MAX_TAPS} positions but kernel_size="
            f"{tuple(kernel_size)} has {taps}. Pass backend='auto'."
        )
    return taps <= MAX_TAPS


def add_outputs(edges: Edges, v: Tensor, wavelet: str) -> None:
    """v[o] += sum_c w[o, c] * psi((x_c - tau_oc) / s_oc); v (O, B, *S_out)."""
    for group, outputs in _tiles(edges):
        x, rows, inverse, shift = _operands(edges, group, outputs)
        taps = x.new_empty(*rows.shape[:2], x.shape[1])
        blocks = launch.cover(x.shape[1]) * len(rows)
        _launch("wavelet_forward", wavelet, [x, rows, inverse, shift, taps], blocks)
        add_taps(v[outputs], taps, edges.size, edges.geometry)


def pull_back(
    edges: Edges, grad_v: Tensor, v: Tensor | None, wavelet: str
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of columns, rows, scale and translation; v is computed again if it is asked for."""
    if v is not None:
        add_outputs(edges, v, wavelet)
    grad_columns = torch.zeros_like(edges.columns)
    grads = [t.new_zeros(t.shape, dtype=edges.columns.dtype) for t in (edges.rows, edges.scale)]
    grad_rows, grad_scale = grads
    grad_shift = torch.zeros_like(grad_scale)
    channels = edges.rows.shape[2]
    for group, outputs in _tiles(edges):
        operands = _operands(edges, group, outputs)
        x, rows = operands[:2]
        taps = take_taps(grad_v[outputs], edges.size, edges.geometry).to(x.dtype).contiguous()
        tiles = -(-channels // _owned(rows.shape[1]))
        blocks = tiles * launch.cover(x.shape[1])
        inputs = [*operands, taps]
        _launch("wavelet_backward_input", wavelet, [*inputs, grad_columns[group]], blocks)
        found = [grad_rows[outputs], grad_scale[outputs], grad_shift[outputs]]
        _launch("wavelet_backward_edges", wavelet, [*inputs, *found], tiles * len(rows))
    return grad_columns, grad_rows, grad_scale, grad_shift


def _owned(taps: int) -> int:
    """Channels that one thread serves: fewer if it needs more numbers for each."""
    return 4 if taps <= 9 else 1


def _tiles(edges: Edges) -> Iterator[tuple[int, slice]]:
    """(group, outputs) such that the taps of the outputs of a tile take bounded memory."""
    groups, _, batch, positions = edges.columns.shape
    if not edges.columns.numel():
        return
    c_out, taps = edges.rows.shape[:2]
    count, per_group = max(_TILE // (taps * batch * positions), 1), c_out // groups
    for first in range(0, c_out, per_group):
        for o in range(first, first + per_group, count):
            yield first // per_group, slice(o, min(o + count, first + per_group))


def _operands(edges: Edges, group: int, outputs: slice) -> list[Tensor]:
    """x (C/groups, n), weight (outputs, taps, C/groups), 1 / s and -tau / s, in one dtype."""
    x = edges.columns[group].flatten(1)
    found = [edges.rows[outputs], edges.inverse[outputs], edges.shift[outputs]]
    return [x, *(t.to(x.dtype).contiguous() for t in found)]


def _launch(name: str, wavelet: str, tensors: list[Tensor], blocks: int) -> None:
    x, rows = tensors[:2]
    outputs, taps, channels = rows.shape
    index, number = launch.index_type(max(x.numel(), outputs * taps * x.shape[1]))
    owned = () if name == "wavelet_forward" else (_owned(taps),)
    macros = (("KAN_WAVELET", camel_case(wavelet)), ("KAN_TAPS", str(taps)))
    launch.launch(
        Kernel("wavelet.cu", instance(name, x.dtype, index, *owned), macros),
        blocks,
        [*tensors, number(x.shape[1]), np.int32(channels), np.int32(outputs)],
        x.device,
    )
