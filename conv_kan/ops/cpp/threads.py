"""The threads of torch, for the C++ kernels."""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path

import torch

# Elements that are worth a thread: waking it takes as long as thousands of them.
_GRAIN = 1 << 13


class Team(ctypes.Structure):
    """The struct Team of parallel.h."""

    _fields_ = (
        ("threads", ctypes.c_longlong),
        ("parallel", ctypes.c_void_p),
        ("member", ctypes.c_void_p),
        ("size", ctypes.c_void_p),
    )


def make_team(num_elements: int) -> Team:
    """The threads for a kernel over so many elements: at most torch's, and as few as make sense."""
    openmp = torch_openmp()
    if openmp is None or num_elements < 2 * _GRAIN:
        return Team(1)
    return Team(min(torch.get_num_threads(), num_elements // _GRAIN), *openmp)


@functools.cache
def torch_openmp() -> tuple[int, int, int] | None:
    """Addresses of GOMP_parallel, omp_get_thread_num and omp_get_num_threads as torch uses them.

    None if it uses no such OpenMP. A kernel linked with an OpenMP of its own would bring a second
    pool of threads, which fights with torch's for the cores. A lookup through the handle of
    libtorch finds the one it depends on.
    """
    for name in ("libtorch_cpu.so", "libtorch_cpu.dylib"):
        path = Path(torch.__file__).parent / "lib" / name
        if path.exists():
            library = ctypes.CDLL(str(path))
            try:
                member, size = library.omp_get_thread_num, library.omp_get_num_threads
                return _address(library.GOMP_parallel), _address(member), _address(size)
            except AttributeError:
                return None
    return None


def _address(function: object) -> int:
    address = ctypes.cast(function, ctypes.c_void_p).value  # type: ignore[arg-type]
    assert address is not None
    return address
