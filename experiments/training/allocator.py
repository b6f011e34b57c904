"""Tells the C allocator that a training loop wants its memory again at the next step."""

from __future__ import annotations

import ctypes
import platform
import sys

M_TRIM_THRESHOLD = -1  # glibc's malloc.h
M_MMAP_MAX = -4
NEVER = 2**31 - 1  # bytes of free memory at the heap's top before it is given back


def keep_large_allocations() -> bool:
    """Have glibc keep freed blocks of any size for reuse; return whether it took.

    glibc maps large blocks one by one and unmaps them when freed, so every step of a training loop
    faults in (and the kernel zeroes) all of its activations anew. With M_MMAP_MAX = 0 they come
    from the heap, and with the largest M_TRIM_THRESHOLD the heap is not given back in between.
    The process then keeps its peak memory until it ends. Call it once, before the first step.

    False, and nothing changes, where malloc is not glibc's: other systems, musl, or another
    allocator loaded in its place.
    """
    if sys.platform != "linux" or platform.libc_ver()[0] != "glibc":
        return False
    try:
        loaded, glibc = ctypes.CDLL(None), ctypes.CDLL("libc.so.6")
        if _address(loaded.malloc) != _address(glibc.malloc):
            return False
        return bool(glibc.mallopt(M_MMAP_MAX, 0) and glibc.mallopt(M_TRIM_THRESHOLD, NEVER))
    except (OSError, AttributeError):
        return False


def _address(function: object) -> int | None:
    return ctypes.cast(function, ctypes.c_void_p).value  # type: ignore[arg-type]
