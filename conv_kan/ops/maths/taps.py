"""The shifts of a convolution: from the values at every tap of the kernel to outputs, and back."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from torch import Tensor

from conv_kan.ops.maths.geometry import Geometry

_Slices = tuple[slice, ...]
_EVERY = (slice(None), slice(None))  # outputs and samples


def add_taps(v: Tensor, taps: Tensor, size: Sequence[int], geometry: Geometry) -> None:
    """v[.., p] += sum_k taps[.., k, stride p + dilation k - padding], over positions inside.

    Shapes: v (O, B, *S_out), taps (O, prod(kernel), B * prod(S)).
    """
    images = taps.view(*taps.shape[:2], v.shape[1], *size)
    for k, (inside, outside) in enumerate(shifts(size, geometry)):
        v[_EVERY + outside] += images[:, k][_EVERY + inside]


def take_taps(v: Tensor, size: Sequence[int], geometry: Geometry) -> Tensor:
    """The transpose of `add_taps`: taps (O, prod(kernel), B * prod(S)) of v (O, B, *S_out)."""
    positions = list(shifts(size, geometry))
    if positions == [(tuple(slice(0, s, 1) for s in size),) * 2]:  # every output is its input
        return v.flatten(1).unsqueeze(1)
    taps = v.new_zeros((v.shape[0], len(positions), v.shape[1], *size))
    for k, (inside, outside) in enumerate(positions):
        taps[:, k][_EVERY + inside] = v[_EVERY + outside]
    return taps.flatten(2)


def shifts(size: Sequence[int], geometry: Geometry) -> Iterator[tuple[_Slices, _Slices]]:
    """For every tap, in the order of the kernel: the inputs it reads and the outputs it reaches."""
    per_axis = [
        [_shift(axis, k, size[axis], geometry) for k in range(length)]
        for axis, length in enumerate(geometry.kernel_size)
    ]
    for chosen in itertools.product(*per_axis):
        yield tuple(pair[0] for pair in chosen), tuple(pair[1] for pair in chosen)


def _shift(axis: int, k: int, length: int, geometry: Geometry) -> tuple[slice, slice]:
    """Inputs stride p + offset, in [0, length), of outputs p; offset = dilation k - padding."""
    stride = geometry.stride[axis]
    offset = geometry.dilation[axis] * k - geometry.padding[axis]
    window = geometry.dilation[axis] * (geometry.kernel_size[axis] - 1) + 1
    padded = length + geometry.extra[axis] + 2 * geometry.padding[axis]
    num_outputs = (padded - window) // stride + 1
    first = max(0, -(offset // stride))
    last = min(num_outputs, (length - 1 - offset) // stride + 1)
    if last <= first:
        return slice(0, 0), slice(0, 0)
    start = first * stride + offset
    return slice(start, (last - 1) * stride + offset + 1, stride), slice(first, last, 1)
