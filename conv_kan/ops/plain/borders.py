"""Where a convolution with zero padding meets the border of an image.

Along an axis, output positions whose windows have the same taps inside the image form runs: with a
kernel of 3 and a padding of 1 the first position, the last one, and all between them. What is the
same at every position of the image but for the border is a number for every run of every axis.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from conv_kan.ops.maths.geometry import Geometry
from conv_kan.ops.maths.modes import lasting_tensors


@dataclass(frozen=True)
class Run:
    """Output positions [start, stop) along an axis, and 1 or 0 for every tap: inside or not."""

    start: int
    stop: int
    inside: tuple[float, ...]


@lru_cache(maxsize=1024)
def axis_runs(geometry: Geometry, size: tuple[int, ...]) -> tuple[tuple[Run, ...], ...]:
    """The runs of every axis for images of this size."""
    return tuple(
        _runs(geometry, axis, length, outputs)
        for axis, (length, outputs) in enumerate(zip(size, geometry.output_size(size), strict=True))
    )


def _runs(geometry: Geometry, axis: int, length: int, outputs: int) -> tuple[Run, ...]:
    offsets = [
        geometry.dilation[axis] * k - geometry.padding[axis]
        for k in range(geometry.kernel_size[axis])
    ]
    runs: list[Run] = []
    for p in range(outputs):
        first = p * geometry.stride[axis]
        inside = tuple(float(0 <= first + offset < length) for offset in offsets)
        start = p
        if runs and runs[-1].inside == inside:
            start = runs.pop().start
        runs.append(Run(start, p + 1, inside))
    return tuple(runs)


class BoxTable(NamedTuple):
    """What a box is, for kernels: the positions whose windows have the same taps inside.

    inside (boxes, prod(kernel)), in float64, the largest box last; box (prod(S_out),), in int32.
    With `centered`, inside is less by 1: the gradients of all positions add up to 0, so that a
    tap's share is what falls outside, negated; exactly 0 for a tap that never does.
    """

    inside: Tensor
    box: Tensor


@lru_cache(maxsize=256)
def box_table(geometry: Geometry, size: tuple[int, ...], centered: bool = False) -> BoxTable:
    """The boxes of images of this size, on the CPU; one box for a linear layer."""
    with lasting_tensors():
        inside, box = torch.ones(1, 1, dtype=torch.float64), torch.zeros(1, dtype=torch.long)
        for runs in axis_runs(geometry, size):
            taps = torch.tensor([run.inside for run in runs], dtype=torch.float64)
            lengths = torch.tensor([run.stop - run.start for run in runs])
            run = torch.arange(len(runs)).repeat_interleave(lengths)
            inside = torch.kron(inside, taps)
            box = (box.unsqueeze(1) * len(runs) + run).flatten()
        last = len(inside) - 1
        most = int(box.bincount(minlength=len(inside)).argmax())
        order = torch.arange(len(inside))
        order[most], order[last] = last, most  # its own inverse
        return BoxTable(inside[order].contiguous() - float(centered), order[box].int())


def run_values(taps: Tensor, axes: Sequence[tuple[Run, ...]]) -> Tensor:
    """sum_k taps[o, *k] prod_axis inside_axis[run, k]: (O, *kernel) -> (O, *runs)."""
    for runs in axes:  # (O, k, ...) -> (O, ..., run), axis after axis
        taps = _contract(taps, _inside(runs, taps).t())
    return taps


def tap_sums(grad_map: Tensor, axes: Sequence[tuple[Run, ...]]) -> Tensor:
    """The transpose of `run_values` spread over positions: (O, *S_out) -> (O, *kernel)."""
    sums = _run_sums(grad_map, axes)
    for runs in axes:  # (O, run, ...) -> (O, ..., k)
        sums = _contract(sums, _inside(runs, sums))
    return sums


def centered_tap_sums(grad_map: Tensor, axes: Sequence[tuple[Run, ...]]) -> Tensor:
    """`tap_sums` of a map whose sum is 0 but for rounding, which is left out.

    A tap's share is what falls outside the image, negated: sum_p grad[o, p] (prod_axis inside - 1),
    exactly 0 for a tap that is inside at every position.
    """
    sums = _run_sums(grad_map, axes)
    inside = sums.new_ones(1, 1)
    for runs in axes:
        inside = torch.kron(inside, _inside(runs, sums))
    taps = sums.flatten(1) @ (inside - 1.0)
    return taps.view(-1, *(len(runs[0].inside) for runs in axes))


def _run_sums(grad_map: Tensor, axes: Sequence[tuple[Run, ...]]) -> Tensor:
    """(O, *S_out) -> (O, *runs)."""
    for runs in axes:  # (O, p, ...) -> (O, ..., run)
        sums = [grad_map[:, run.start : run.stop].sum(1) for run in runs]
        grad_map = torch.stack(sums, dim=-1)
    return grad_map


def boxes(
    values: Tensor, axes: Sequence[Sequence[Run]]
) -> tuple[Tensor, list[tuple[tuple[slice, ...], Tensor]]]:
    """The value (O,) of the largest box of positions, and every other box with its difference.

    A box is an index of (B, O, *S_out); values (O, *runs).
    """
    longest = [max(range(len(r)), key=lambda i: r[i].stop - r[i].start) for r in axes]
    most, others = values.flatten(1)[:, _flat(longest, axes)], []
    for index in itertools.product(*(range(len(runs)) for runs in axes)):
        if list(index) != longest:
            places = [slice(r[i].start, r[i].stop) for r, i in zip(axes, index, strict=True)]
            box = (slice(None), slice(None), *places)
            others.append((box, values.flatten(1)[:, _flat(index, axes)] - most))
    return most, others


def _flat(index: Sequence[int], axes: Sequence[Sequence[Run]]) -> int:
    """The position of an index among all combinations of runs."""
    flat = 0
    for i, runs in zip(index, axes, strict=True):
        flat = flat * len(runs) + i
    return flat


def _inside(runs: tuple[Run, ...], like: Tensor) -> Tensor:
    """(runs, kernel), kept: a copy to a GPU at every call would wait, and break a CUDA graph."""
    is_plain = type(like) is Tensor or isinstance(like, torch.nn.Parameter)
    make = _make_inside if is_plain else _make_inside.__wrapped__  # a fake tensor must not stay
    return make(runs, like.dtype, like.device)


@lru_cache(maxsize=1024)
def _make_inside(runs: tuple[Run, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        return torch.tensor([run.inside for run in runs], dtype=dtype, device=device)


def _contract(t: Tensor, matrix: Tensor) -> Tensor:
    """sum_i t[o, i, ...] matrix[i, j] -> (O, ..., j).

    Written out: the matrices are tiny, and a library of matrix products may wake its threads.
    """
    rows = matrix.view(matrix.shape[0], *[1] * (t.dim() - 2), matrix.shape[1])
    return (t.unsqueeze(-1) * rows).sum(1)
