"""Memory that stays from one expansion to the next.

What a layer computes with until its convolution is done, it needs again at the next step. On a CPU
fresh memory costs a page fault for every 4 KiB, about as much as the expansion itself, so that a
thread keeps one block for all of it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from conv_kan.ops.maths.modes import simulation

_LARGEST = 64 << 20  # bytes that a thread may keep
_SMALLEST = 1 << 17  # below, the allocator of C keeps blocks by itself
_ALIGNMENT = 256


class _Scratch(threading.local):
    memory: Tensor | None = None
    owner: object | None = None  # the simulation that the memory is part of
    lent: int | None = None  # bytes, where it lends


_scratch = _Scratch()


@contextmanager
def lend_scratch() -> Iterator[None]:
    """Inside, what `empty` makes in this thread is lent until the end.

    It must not be read later: the next tensors take the same memory. A simulation has its own.
    """
    if _scratch.owner is not simulation():
        _scratch.memory, _scratch.owner = None, simulation()
    _scratch.lent = 0
    try:
        yield
    finally:
        _keep(_scratch.lent)
        _scratch.lent = None


def empty(
    size: tuple[int, ...], dtype: torch.dtype, device: torch.device, layout: torch.memory_format
) -> Tensor:
    """torch.empty, in this thread's scratch if that is lent and large enough."""
    fresh = torch.empty(size, dtype=dtype, device="meta", memory_format=layout)
    start = _scratch.lent
    if start is None or device.type != "cpu" or fresh.nbytes < _SMALLEST:
        return torch.empty(size, dtype=dtype, device=device, memory_format=layout)
    stop = start + fresh.nbytes
    _scratch.lent = -(-stop // _ALIGNMENT) * _ALIGNMENT
    memory = _scratch.memory
    if memory is None or memory.nbytes < stop:
        return torch.empty(size, dtype=dtype, device=device, memory_format=layout)
    return memory[start:stop].view(dtype).as_strided(size, fresh.stride())


def _keep(num_bytes: int) -> None:
    """Have so many bytes the next time, if they are not too many."""
    present = 0 if _scratch.memory is None else _scratch.memory.nbytes
    if not present < num_bytes <= _LARGEST:
        return
    _scratch.memory = None  # free the smaller one first
    with torch.inference_mode(False):
        _scratch.memory = torch.empty(num_bytes, dtype=torch.uint8)
