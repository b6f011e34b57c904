"""Where a convolution looks: kernel, stride, padding, dilation, groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from conv_kan.ops.maths.checks import check_int, check_ints


@dataclass(frozen=True)
class Geometry:
    """Geometry of a convolution over `ndim` dimensions; ndim = 0 is a linear layer.

    `padding` zeros stand on both sides of the expanded maps; `extra` more stand at the end of each
    dimension (0, except for padding="same" with a window of even length).
    """

    kernel_size: tuple[int, ...] = ()
    stride: tuple[int, ...] = ()
    padding: tuple[int, ...] = ()
    dilation: tuple[int, ...] = ()
    extra: tuple[int, ...] = ()
    groups: int = 1

    @property
    def ndim(self) -> int:
        return len(self.kernel_size)

    @property
    def is_padded(self) -> bool:
        return any(self.padding) or any(self.extra)

    @property
    def passes_over(self) -> bool:
        """Whether windows of one tap leave out positions, which nothing reads."""
        taps = set(self.kernel_size)
        return taps == {1} and not self.is_padded and any(t > 1 for t in self.stride)

    def padded_size(self, size: Sequence[int]) -> tuple[int, ...]:
        """Size of the expanded maps with the extra zeros, before symmetric padding."""
        return tuple(s + e for s, e in zip(size, self.extra, strict=True))

    def output_size(self, size: Sequence[int]) -> tuple[int, ...]:
        """S_out = floor((S + extra + 2 padding - dilation (kernel - 1) - 1) / stride) + 1."""
        windows = zip(self.kernel_size, self.dilation, self.padding, self.stride, strict=True)
        return tuple(
            (s + 2 * p - d * (k - 1) - 1) // t + 1
            for s, (k, d, p, t) in zip(self.padded_size(size), windows, strict=True)
        )


def convolution_arguments(geometry: Geometry, groups: int) -> tuple[Any, ...]:
    """stride, padding, dilation, transposed, output_padding, groups."""
    return (
        geometry.stride,
        geometry.padding,
        geometry.dilation,
        False,
        (0,) * geometry.ndim,
        groups,
    )


def make_geometry(
    ndim: int,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int],
    padding: int | Sequence[int] | str,
    dilation: int | Sequence[int],
    groups: int,
) -> Geometry:
    """Check the arguments of a convolution and return its Geometry.

    Raises: ValueError or TypeError for entries that are not integers in range, for a sequence
    whose length is not `ndim`, and for padding="same" with a stride other than 1.
    """
    kernel = check_ints("kernel_size", kernel_size, ndim, 1)
    strides = check_ints("stride", stride, ndim, 1)
    dilations = check_ints("dilation", dilation, ndim, 1)
    check_int("groups", groups, 1)
    if not isinstance(padding, str):
        pads = check_ints("padding", padding, ndim, 0)
        return Geometry(kernel, strides, pads, dilations, (0,) * ndim, groups)
    if padding != "same":
        raise ValueError(
            f"padding={padding!r} is unknown; pass an integer, {ndim} integers or 'same'."
        )
    if any(s != 1 for s in strides):
        raise ValueError(
            f"padding='same' needs stride 1 but stride={stride!r}; "
            "pass padding as integers, for example kernel_size // 2."
        )
    total = tuple(d * (k - 1) for d, k in zip(dilations, kernel, strict=True))
    pads, extra = tuple(t // 2 for t in total), tuple(t % 2 for t in total)
    return Geometry(kernel, strides, pads, dilations, extra, groups)
