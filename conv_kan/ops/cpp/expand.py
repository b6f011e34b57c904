"""Fills the arguments of the kernels in expand.cpp and calls them."""

from __future__ import annotations

import ctypes
import functools
import math

import torch
from torch import Tensor

from conv_kan.ops.cpp import layout, weights
from conv_kan.ops.cpp.build import TYPES, CannotCompileError, load_library
from conv_kan.ops.cpp.threads import Team, make_team
from conv_kan.ops.maths.buffers import clear_extra, dense_inputs, empty_buffer
from conv_kan.ops.maths.dtypes import working_dtype
from conv_kan.ops.maths.expansion import Expansion
from conv_kan.ops.maths.formula import Formula, camel_case, pack_shape, unpack_grad
from conv_kan.ops.maths.memory import memory_format
from conv_kan.ops.maths.plan import Inputs, Plan, Wanted

_LONG, _POINTER = ctypes.c_longlong, ctypes.c_void_p
# A compiler writes out the loop over the functions of a channel: seconds up to here, and a minute
# or several for more.
MOST_FUNCTIONS = 48


class Call(ctypes.Structure):
    """The struct Call of expand.cpp."""

    _fields_ = (
        *((name, _POINTER) for name in ("x", "u", "shape", "buffer")),
        *((name, _POINTER) for name in ("grad_x", "grad_u", "grad_shape")),
        ("batch", _LONG),
        ("channels", _LONG),
        ("size", _LONG * 3),
        ("padded", _LONG * 3),
        *((name, _LONG) for name in ("rows", "channels_last", "refill")),
        ("team", Team),
    )


@functools.lru_cache(maxsize=512)
def kernels(
    formula: Formula, base: str | None, value: torch.dtype, stored: torch.dtype
) -> ctypes.CDLL:
    """The library for a basis, a base function, the dtype of x and that of the buffer.

    Raises: CannotCompileError.
    """
    macros = [("KAN_FUNCTOR", formula.name), *formula.macros]
    macros += [("KAN_VALUE", TYPES[value]), ("KAN_STORED", TYPES[stored])]
    if base is not None:
        macros.append(("KAN_BASE", camel_case(base)))
    library = load_library("expand.cpp", tuple(macros))
    for operation in (library.kan_expand, library.kan_pull_back):
        operation.argtypes, operation.restype = [ctypes.POINTER(Call)], None
    return library


@functools.lru_cache(maxsize=512)
def _compiler_problem(
    formula: Formula, base: str | None, value: torch.dtype, stored: torch.dtype
) -> str | None:
    """Why the kernels of an expansion cannot be compiled here; None if they can."""
    try:
        kernels(formula, base, value, stored)
        layout.kernels(value.itemsize)
        layout.kernels(stored.itemsize)
        weights.load_kernels(value, stored)
    except CannotCompileError as error:
        return str(error)
    return None


def why_not(value: torch.dtype, stored: torch.dtype, expansion: Expansion) -> str | None:
    """Why this backend cannot serve these dtypes; None if it can, and has compiled its kernels."""
    if expansion.formula is None:
        return "this basis has no compiled formula (a legacy squash, or a basis of your own)."
    if expansion.base is not None and expansion.base_name is None:
        return "the base function has no name in conv_kan.ops.maths.activations."
    if value not in TYPES:
        return f"there is no kernel for {value}; pass x.float()."
    if expansion.num_functions > MOST_FUNCTIONS:
        return (
            f"a kernel for {expansion.num_functions} functions of a channel would take minutes to "
            f"compile; it has at most {MOST_FUNCTIONS}. Take a smaller degree or grid."
        )
    return _compiler_problem(expansion.formula, expansion.base_name, value, stored)


def expand_inputs(inputs: Inputs, plan: Plan) -> Tensor:
    """conv_kan.ops.plain.expand_inputs, in one pass over x."""
    buffer = empty_buffer(inputs.x, plan)
    if buffer.numel():
        dense = dense_inputs(inputs)
        call, packed = _call(dense, plan.expansion, buffer)
        _kernels(dense.x, plan.expansion, plan.dtype).kan_expand(call)
        del packed
        clear_extra(buffer, plan.size)
    return buffer


def pull_back(buffer: Tensor, inputs: Inputs, plan: Plan, wanted: Wanted) -> list[Tensor | None]:
    """conv_kan.ops.plain.pull_back, in one pass over the buffer."""
    sources: list[Tensor | None] = [inputs.x, inputs.u, *inputs.shape]
    needs = [need and s is not None for need, s in zip(wanted.grads, sources, strict=True)]
    dtypes = [None if source is None else source.dtype for source in sources]
    expansion, dense = plan.expansion, dense_inputs(inputs)
    x, u, shape = dense
    local = buffer.contiguous(memory_format=memory_format(x))
    call, packed = _call(dense, expansion, local)
    grads: list[Tensor | None] = [
        torch.empty_like(t) if t is not None and need else None
        for t, need in zip((x, u), needs[:2], strict=True)
    ]
    call.grad_x, call.grad_u = (None if t is None else t.data_ptr() for t in grads)
    call.refill = wanted.refill
    sums = None
    if packed is not None and any(needs[2:]):
        sums = torch.zeros((call.team.threads, *packed.shape), dtype=torch.float64)
        call.grad_shape = sums.data_ptr()
    if local.numel():
        _kernels(x, expansion, buffer.dtype).kan_pull_back(call)
    if wanted.refill:
        clear_extra(local, plan.size)
        if local is not buffer:
            buffer.copy_(local)
    if sums is None or expansion.formula is None:
        grads += [None] * len(shape)
    else:
        total = sums.sum(0).to(working_dtype(x))
        found = unpack_grad(total, shape, expansion.formula, x)
        grads += [g if need else None for g, need in zip(found, needs[2:], strict=True)]
    return [
        None if grad is None else grad.to(dtype) for grad, dtype in zip(grads, dtypes, strict=True)
    ]


def _kernels(x: Tensor, expansion: Expansion, stored: torch.dtype) -> ctypes.CDLL:
    assert expansion.formula is not None
    return kernels(expansion.formula, expansion.base_name, x.dtype, stored)


def _call(inputs: Inputs, expansion: Expansion, buffer: Tensor) -> tuple[Call, Tensor | None]:
    """The arguments that both kernels need, and the packed shape, which must outlive the call."""
    x, u, shape = inputs
    assert expansion.formula is not None
    with torch.no_grad():
        packed = pack_shape(shape, expansion.formula, x)
    call = Call(
        x=x.data_ptr(),
        u=(x if u is None else u).data_ptr(),
        shape=None if packed is None else packed.data_ptr(),
        buffer=buffer.data_ptr(),
        channels=x.shape[1],
        rows=1 if packed is None else packed.shape[0],
        team=make_team(buffer.numel()),
    )
    call.channels_last, call.batch, call.size, call.padded = _layout(x, buffer)
    return call, packed


def _layout(x: Tensor, buffer: Tensor) -> tuple[bool, int, tuple[int, ...], tuple[int, ...]]:
    """Whether channels are last in memory, the batch, and three sizes of x and of the buffer.

    Without extra positions, all positions of a channel, or of the batch where channels are last,
    are one row.
    """
    size, padded = tuple(x.shape[2:]), tuple(buffer.shape[2:])
    last = memory_format(x) is not torch.contiguous_format or math.prod(padded) == 1
    batch = x.shape[0]
    if size == padded and last:
        batch, size, padded = 1, (batch * math.prod(size),), (batch * math.prod(size),)
    elif size == padded:
        size = padded = (math.prod(size),)
    ones = (1,) * (3 - len(size))
    return last, batch, (*ones, *size), (*ones, *padded)
