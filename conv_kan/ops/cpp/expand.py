"""Fills the arguments of the kernels in expand.cpp and calls them."""

from __future__ import annotations

import ctypes
import functools
import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from conv_kan.ops.cpp import layout, weights
from conv_kan.ops.cpp.build import TYPES, CannotCompileError, load_library
from conv_kan.ops.cpp.compiler import compiler
from conv_kan.ops.cpp.launch import launch
from conv_kan.ops.cpp.threads import Team, make_team
from conv_kan.ops.maths.buffers import clear_extra, dense_inputs, empty_buffer
from conv_kan.ops.maths.dtypes import working_dtype
from conv_kan.ops.maths.expansion import Expansion
from conv_kan.ops.maths.formula import Formula, camel_case, pack_shape, unpack_grad
from conv_kan.ops.maths.memory import memory_format
from conv_kan.ops.maths.modes import is_simulated
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

    def load() -> None:
        kernels(formula, base, value, stored)
        layout.kernels(value.itemsize)
        layout.kernels(stored.itemsize)
        weights.kernels(value, stored)

    return _problem(load)


def _problem(load: Callable[[], object]) -> str | None:
    try:
        load()
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
    if is_simulated():
        return _problem(compiler)
    return _compiler_problem(expansion.formula, expansion.base_name, value, stored)


def expand_inputs(inputs: Inputs, plan: Plan) -> Tensor:
    """conv_kan.ops.plain.expand_inputs, in one pass over x."""
    buffer = empty_buffer(inputs.x, plan)
    if buffer.numel():
        dense = dense_inputs(inputs)
        call, tensors = _call(dense, plan.expansion, buffer)
        _launch("kan_expand", call, tensors, plan)
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
    call, tensors = _call(dense, expansion, local)
    grads: list[Tensor | None] = [
        torch.empty_like(t) if t is not None and need else None
        for t, need in zip((x, u), needs[:2], strict=True)
    ]
    tensors["grad_x"], tensors["grad_u"] = grads
    call.refill = wanted.refill
    sums, packed = None, tensors["shape"]
    if packed is not None and any(needs[2:]):
        sums = torch.zeros((call.team.threads, *packed.shape), dtype=torch.float64)
        tensors["grad_shape"] = sums
    if local.numel():
        _launch("kan_pull_back", call, tensors, plan)
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


def _launch(operation: str, call: Call, tensors: Mapping[str, Tensor | None], plan: Plan) -> None:
    x, buffer, expansion = tensors["x"], tensors["buffer"], plan.expansion
    assert x is not None and buffer is not None
    key = expansion.formula, expansion.base_name, x.dtype, buffer.dtype
    launch(kernels, key, operation, call, tensors)


def _call(
    inputs: Inputs, expansion: Expansion, buffer: Tensor
) -> tuple[Call, dict[str, Tensor | None]]:
    """The numbers and the tensors that both kernels need."""
    x, u, shape = inputs
    assert expansion.formula is not None
    with torch.no_grad():
        packed = pack_shape(shape, expansion.formula, x)
    call = Call(
        channels=x.shape[1],
        rows=1 if packed is None else packed.shape[0],
        team=make_team(buffer.numel()),
    )
    call.channels_last, call.batch, call.size, call.padded = _layout(x, buffer)
    return call, {"x": x, "u": x if u is None else u, "shape": packed, "buffer": buffer}


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
