"""Fills the arguments of the kernels in norm.cpp and calls them."""

from __future__ import annotations

import ctypes
import functools
import math

import torch
from torch import Tensor

from conv_kan.ops.channels import working_dtype
from conv_kan.ops.cpp.build import load_library
from conv_kan.ops.cpp.launch import TYPES
from conv_kan.ops.cpp.threads import Team, make_team
from conv_kan.ops.expand import memory_format
from conv_kan.ops.formula import camel_case

_LONG, _POINTER = ctypes.c_longlong, ctypes.c_void_p
_TENSORS = ("y", "grad_a", "out", "factor", "shift", "mean", "slope", "pull", "level", "sums")
_OPERATIONS = ("kan_moments", "kan_norm_forward", "kan_norm_sums", "kan_norm_backward")


class Call(ctypes.Structure):
    """The struct Call of norm.cpp."""

    _fields_ = (
        *((name, _POINTER) for name in _TENSORS),
        *((name, _LONG) for name in ("batch", "channels", "positions", "channels_last")),
        ("team", Team),
    )


@functools.cache
def kernels(activation: str, value: torch.dtype) -> ctypes.CDLL:
    """The library for an activation and the dtype of the map.

    Raises: CannotCompileError.
    """
    macros = ("KAN_ACTIVATION", camel_case(activation)), ("KAN_VALUE", TYPES[value])
    library = load_library("norm.cpp", macros)
    for name in _OPERATIONS:
        operation = getattr(library, name)
        operation.argtypes, operation.restype = [ctypes.POINTER(Call)], None
    return library


def moments(y: Tensor, activation: str) -> tuple[Tensor, Tensor]:
    """Mean and mean squared distance from it of every channel of every sample, in float64.

    Shapes: y (B, C, *S) -> (B, C) each, or (1, C) over all samples where there are no positions.
    """
    sums = _sums(y)
    _run("kan_moments", y, activation, sums=sums)
    mean, squares, subtracted = sums.unbind(2)
    return mean, squares / _layout(y)[2] - (mean - subtracted).square()


def forward(y: Tensor, activation: str, factor: Tensor, shift: Tensor, slope: Tensor) -> Tensor:
    """act(factor y + shift); slope is that of "prelu", otherwise empty."""
    out = torch.empty_like(y)
    _run("kan_norm_forward", y, activation, out=out, factor=factor, shift=shift, slope=slope)
    return out


def grad_sums(
    y: Tensor, grad_a: Tensor, activation: str, **numbers: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """With dz = grad_a act'(z): the sums of dz, of dz (y - mean), and of the slope's gradient.

    `numbers` are factor, shift, mean and slope, as (B, C) or (1, C).
    """
    sums = _sums(y)
    _run("kan_norm_sums", y, activation, grad_a=grad_a, sums=sums, **numbers)
    return sums.unbind(2)  # type: ignore[return-value]


def backward(y: Tensor, grad_a: Tensor, activation: str, **numbers: Tensor) -> Tensor:
    """dy = factor dz - pull (y - mean) - level; `numbers` as for `grad_sums`, pull and level."""
    out = torch.empty_like(y)
    _run("kan_norm_backward", y, activation, grad_a=grad_a, out=out, **numbers)
    return out


def _layout(y: Tensor) -> tuple[int, int, int, bool]:
    """Batch, channels, positions, and whether channels are the last in memory."""
    if y.dim() == 2:
        return 1, y.shape[1], y.shape[0], True
    last = memory_format(y) is not torch.contiguous_format
    return y.shape[0], y.shape[1], math.prod(y.shape[2:]), last


def _sums(y: Tensor) -> Tensor:
    batch, channels, *_ = _layout(y)
    return torch.empty((batch, channels, 3), dtype=torch.float64)


def _run(operation: str, y: Tensor, activation: str, **tensors: Tensor) -> None:
    batch, channels, positions, last = _layout(y)
    call = Call(batch=batch, channels=channels, positions=positions, channels_last=last)
    call.y, call.team = y.data_ptr(), make_team(y.numel())
    held = []  # what the kernel reads must outlive the call
    for name, tensor in tensors.items():
        if name in ("factor", "shift", "mean", "slope", "pull", "level"):
            if tensor.numel() == 0:
                continue
            tensor = tensor.to(working_dtype(y)).expand(batch, channels).contiguous()
        held.append(tensor)
        setattr(call, name, tensor.data_ptr())
    getattr(kernels(activation, y.dtype), operation)(call)
