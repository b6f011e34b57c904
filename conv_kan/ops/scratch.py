"""Memory that stays from one expansion to the next.

The buffer of a forward pass lives until its convolution is done. On a CPU fresh memory costs a page
fault for every 4 KiB, about as much as the expansion itself, so that a thread keeps one such block.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

_LARGEST = 64 << 20  # bytes that a thread may keep
_SMALLEST = 1 << 17  # below, the allocator of C keeps blocks by itself


class _Scratch(threading.local):
    memory: Tensor | None = None
    is_lent = False
    lends = False


_scratch = _Scratch()


@contextmanager
def lend_scratch() -> Iterator[None]:
    """Inside, the first buffer of this thread that `empty` makes is lent until the end.

    It must not be read later: the next one takes the same memory.
    """
    _scratch.lends, _scratch.is_lent = True, False
    try:
        yield
    finally:
        _scratch.lends = False


def empty(
    size: tuple[int, ...], dtype: torch.dtype, device: torch.device, layout: torch.memory_format
) -> Tensor:
    """torch.empty, in this thread's scratch if that is lent."""
    fresh = torch.empty(size, dtype=dtype, device="meta", memory_format=layout)
    lends = _scratch.lends and not _scratch.is_lent and device.type == "cpu"
    if not lends or not _SMALLEST <= fresh.nbytes <= _LARGEST:
        return torch.empty(size, dtype=dtype, device=device, memory_format=layout)
    _scratch.is_lent = True
    memory = _scratch.memory
    if memory is None or memory.nbytes < fresh.nbytes:
        _scratch.memory = None  # free the smaller one first
        with torch.inference_mode(False):
            memory = torch.empty(fresh.nbytes, dtype=torch.uint8)
        _scratch.memory = memory
    return memory[: fresh.nbytes].view(dtype).as_strided(size, fresh.stride())
