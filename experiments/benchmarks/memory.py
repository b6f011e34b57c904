"""How much memory a training step keeps for its backward pass, and how much it takes at most."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from experiments.errors import DataError

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD = -3, -1  # glibc's malloc.h
_MAPPED_FROM = 16 * 1024  # bytes


def kept_bytes(forward: Callable[[], Any], parameters: Iterable[Tensor]) -> int:
    """Bytes of all tensors that forward() saves for backward; parameters do not count.

    A storage that several operations save counts once, and counts whole. The input counts, since
    it could be freed otherwise.
    """
    own = {p.untyped_storage().data_ptr() for p in parameters}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        forward()
    return sum(kept.values())


def map_every_block() -> None:
    """Have glibc map every block of 16 KiB or more by itself and unmap it when it is freed.

    The resident memory of the process then is what is allocated at that moment, so that
    `peak_bytes` sees every step's memory anew. Slow: for measuring memory, never for timing.

    Raises: DataError off Linux with glibc.
    """
    try:
        glibc = ctypes.CDLL("libc.so.6")
        done = glibc.mallopt(_M_MMAP_THRESHOLD, _MAPPED_FROM) and glibc.mallopt(
            _M_TRIM_THRESHOLD, 0
        )
    except (OSError, AttributeError):
        done = 0
    if not done or not _CLEAR.exists():
        raise DataError(
            "peak memory is measured by the kernel's count of resident pages, which needs Linux "
            "and glibc; leave the memory benchmarks out here"
        )


def peak_bytes(step: Callable[[], Any]) -> int:
    """How far the resident memory of this process rises above its start during step().

    The kernel counts: everything is in it, whoever allocates, also what convolutions of oneDNN and
    compiled extensions take for themselves and torch's profiler does not see. Call step() once
    before, so that what stays (gradients, optimizer state, compiled kernels) is there already, and
    `map_every_block` at the start of the process.
    """
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    _CLEAR.write_text("5")  # sets the peak, VmHWM, to the present value
    before = _status("VmRSS")
    step()
    return max(_status("VmHWM") - before, 0)


def _status(key: str) -> int:
    for line in _STATUS.read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"{_STATUS} has no line {key}")
