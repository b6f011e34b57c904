"""Calls of compiled kernels on tensors, also on those that have sizes but no numbers."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from conv_kan.ops.cpp.compiler import compiler
from conv_kan.ops.maths.modes import is_simulated


def launch(
    kernels: Callable[..., ctypes.CDLL],
    key: tuple[Any, ...],
    operation: str,
    call: ctypes.Structure,
    tensors: Mapping[str, Tensor | None],
) -> None:
    """Run an operation of the library kernels(*key).

    The call gets the addresses of the tensors, by the names of its fields. In a simulation nothing
    is computed, and nothing compiled.
    """
    if is_simulated():
        return
    for name, tensor in tensors.items():
        setattr(call, name, None if tensor is None else tensor.data_ptr())
    getattr(kernels(*key), operation)(call)


def prepare(load: Callable[[], object]) -> None:
    """Call load(), which compiles; in a simulation see only that there is a compiler.

    Raises: CannotCompileError.
    """
    if is_simulated():
        compiler()
    else:
        load()
