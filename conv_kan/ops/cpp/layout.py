"""In which memory format a CPU convolves fastest, and the way there and back."""

from __future__ import annotations

import ctypes
import functools
import math

import torch
from torch import Tensor

from conv_kan.ops.cpp.build import load_library
from conv_kan.ops.cpp.launch import launch
from conv_kan.ops.cpp.threads import Team, make_team
from conv_kan.ops.maths import scratch
from conv_kan.ops.maths.memory import CHANNELS_LAST, memory_format

_INTEGERS = {2: "short", 4: "int", 8: "long long"}
_LONG, _POINTER = ctypes.c_longlong, ctypes.c_void_p


class Call(ctypes.Structure):
    """The struct Call of layout.cpp."""

    _fields_ = (
        ("source", _POINTER),
        ("target", _POINTER),
        *((name, _LONG) for name in ("batch", "rows", "columns")),
        ("team", Team),
    )


@functools.cache
def kernels(itemsize: int) -> ctypes.CDLL:
    """The library for elements of so many bytes.

    Raises: CannotCompileError.
    """
    library = load_library("layout.cpp", (("KAN_STORED", _INTEGERS[itemsize]),))
    library.kan_transpose.argtypes, library.kan_transpose.restype = [ctypes.POINTER(Call)], None
    return library


def fastest_format(x: Tensor, buffer: int, weight: int, dtype: torch.dtype) -> torch.memory_format:
    """The memory format in which a convolution of x's expansion is fastest, forward and backward.

    With AVX-512 that is channels last, as far as the convolution has kernels of its own for it,
    unless its weight is larger than what it reads: few positions of many channels. With AVX2 the
    gradient of the weight loses what the rest gains. Sizes are numbers of elements.
    """
    if x.dim() not in CHANNELS_LAST or dtype == torch.float64 or not has_avx512():
        return memory_format(x)
    return torch.contiguous_format if weight > buffer else CHANNELS_LAST[x.dim()]


@functools.cache
def has_avx512() -> bool:
    """Whether torch computes with AVX-512 here."""
    return torch.backends.cpu.get_cpu_capability().startswith("AVX512")


def in_format(x: Tensor, layout: torch.memory_format) -> Tensor:
    """x.contiguous(memory_format=layout), several times faster where channels move, in scratch."""
    present = memory_format(x)
    if x.is_contiguous(memory_format=layout):
        return x
    if not x.is_contiguous(memory_format=present) or x.numel() == 0:
        return x.contiguous(memory_format=layout)
    y = scratch.empty(tuple(x.shape), x.dtype, x.device, layout)
    batch, channels, positions = x.shape[0], x.shape[1], math.prod(x.shape[2:])
    first = present is torch.contiguous_format
    call = Call(
        batch=batch,
        rows=channels if first else positions,
        columns=positions if first else channels,
        team=make_team(x.numel()),
    )
    launch(kernels, (x.element_size(),), "kan_transpose", call, {"source": x, "target": y})
    return y
