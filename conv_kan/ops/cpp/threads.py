"""The threads of torch, for the C++ kernels."""

from __future__ import annotations

import ctypes
import functools
from dataclasses import dataclass
from pathlib import Path

import torch


@dataclass(frozen=True)
class OpenMP:
    """Addresses of the functions by which a kernel runs on several threads."""

    parallel: int
    member: int
    team: int


@functools.cache
def torch_openmp() -> OpenMP | None:
    """The OpenMP runtime that torch itself uses, or None if it uses none.

    A kernel linked with an OpenMP of its own would bring a second pool of threads, which fights
    with torch's for the cores. A lookup through the handle of libtorch finds the one it depends on.
    """
    for name in ("libtorch_cpu.so", "libtorch_cpu.dylib"):
        path = Path(torch.__file__).parent / "lib" / name
        if path.exists():
            library = ctypes.CDLL(str(path))
            try:
                symbols = (library.GOMP_parallel, library.omp_get_thread_num)
                return OpenMP(*map(_address, (*symbols, library.omp_get_num_threads)))
            except AttributeError:
                return None
    return None


def num_threads(num_elements: int) -> int:
    """How many threads a kernel over so many elements should use."""
    if torch_openmp() is None or num_elements < _GRAIN:
        return 1
    return min(torch.get_num_threads(), num_elements // _GRAIN + 1)


# Elements that are worth a thread: waking it takes as long as a thousand of them.
_GRAIN = 1 << 13


def _address(function: object) -> int:
    address = ctypes.cast(function, ctypes.c_void_p).value  # type: ignore[arg-type]
    assert address is not None
    return address
