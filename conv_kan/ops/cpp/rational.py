"""The group rational by the kernels of rational.cpp.

conv_kan.ops.plain.rational is the reference.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Sequence

import torch
from torch import Tensor

from conv_kan.ops.cpp.build import TYPES, load_library
from conv_kan.ops.cpp.launch import launch
from conv_kan.ops.cpp.threads import Team, make_team
from conv_kan.ops.maths.dtypes import working_dtype

# Elements of a block, for each number that it leaves 64 at least, and the most blocks: the threads
# share them.
_BLOCK, _PER_SUM, _MOST_BLOCKS = 1 << 13, 64, 128

_LONG, _POINTER = ctypes.c_longlong, ctypes.c_void_p
_TENSORS = ("x", "grad_y", "out", "numerator", "denominator", "sums_a", "sums_b")


class Call(ctypes.Structure):
    """The struct Call of rational.cpp."""

    _fields_ = (
        *((name, _POINTER) for name in _TENSORS),
        *((name, _LONG) for name in ("rows", "groups", "run", "blocks")),
        ("team", Team),
    )


@functools.cache
def kernels(value: torch.dtype, numerator: int, denominator: int) -> ctypes.CDLL:
    """The library for the dtype of x and the numbers of coefficients.

    Raises: CannotCompileError.
    """
    counts = ("KAN_NUMERATOR", str(numerator)), ("KAN_DENOMINATOR", str(denominator))
    library = load_library("rational.cpp", (("KAN_VALUE", TYPES[value]), *counts))
    for operation in (library.kan_rational, library.kan_rational_backward):
        operation.argtypes, operation.restype = [ctypes.POINTER(Call)], None
    return library


def rational(x: Tensor, numerator: Tensor, denominator: Tensor) -> Tensor:
    """F of x (N, G, M), which is contiguous; numerator (n + 1,), denominator (G, d)."""
    y = torch.empty_like(x)
    _run("kan_rational", numerator, denominator, x=x, out=y)
    return y


def rational_backward(
    grad_y: Tensor,
    x: Tensor,
    numerator: Tensor,
    denominator: Tensor,
    needs: Sequence[bool],
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Gradients of x, numerator and denominator, where `needs` asks for them.

    Numerics: the sums over elements do not depend on the number of threads.
    """
    grad_x, grad_y = torch.empty_like(x), grad_y.to(x.dtype).contiguous()
    blocks = _blocks(x, denominator)
    sums_a, sums_b = (
        torch.zeros((blocks, *t.shape), dtype=torch.float64) for t in (numerator, denominator)
    )
    tensors = {"x": x, "grad_y": grad_y, "out": grad_x, "sums_a": sums_a, "sums_b": sums_b}
    _run("kan_rational_backward", numerator, denominator, **tensors)
    sign = torch.where(denominator >= 0, 1.0, -1.0)
    return (
        grad_x if needs[0] else None,
        sums_a.sum(0).to(numerator.dtype) if needs[1] else None,
        (sums_b.sum(0) * sign).to(denominator.dtype) if needs[2] else None,
    )


def _blocks(x: Tensor, denominator: Tensor) -> int:
    """How many there are: the same number whatever the threads."""
    size = max(_BLOCK, _PER_SUM * denominator.numel())
    return min(max(x.numel() // size, 1), _MOST_BLOCKS)


def _run(operation: str, numerator: Tensor, denominator: Tensor, **tensors: Tensor) -> None:
    x = tensors["x"]
    wide, (rows, groups, run) = working_dtype(x), x.shape
    a, b = (t.detach().to(wide).contiguous() for t in (numerator, denominator.abs()))
    blocks = _blocks(x, denominator)
    call = Call(rows=rows, groups=groups, run=run, blocks=blocks, team=make_team(x.numel()))
    if x.numel():
        key = x.dtype, len(a), b.shape[1]
        launch(kernels, key, operation, call, {**tensors, "numerator": a, "denominator": b})
