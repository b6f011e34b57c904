"""Executes CUDA kernels on the CPU; `Module` looks like cupy.RawModule."""

from __future__ import annotations

import ctypes
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.cuda_on_cpu.build import compile_kernels

LETTERS = {"f4": "f", "f8": "d", "i4": "i", "i8": "l", "b1": "b"}
SCHEDULES = (0, 1, 2, 4, 5, 6)


class KernelError(RuntimeError):
    """A launch failed, or the checker found a wrong access."""


class _Launch(ctypes.Structure):
    """ShimLaunch of runtime.h."""

    _fields_ = (
        ("grid", ctypes.c_uint * 3),
        ("block", ctypes.c_uint * 3),
        ("schedule", ctypes.c_int32),
        ("flush", ctypes.c_int32),
        ("check", ctypes.c_int32),
        ("unused", ctypes.c_int32),
        ("seed", ctypes.c_uint64),
        ("first_block", ctypes.c_int64),
        ("last_block", ctypes.c_int64),
    )


@dataclass(frozen=True)
class Traffic:
    """What a launch did to one tensor: bytes read and written, number of atomic additions."""

    bytes_read: int
    bytes_written: int
    atomics: int


@dataclass(frozen=True)
class How:
    """How to execute: the order of threads and blocks, denormals, which blocks (-1: to the end)."""

    schedule: int = 0
    seed: int = 1
    flush: bool = True
    blocks: tuple[int, int] = (0, -1)


class Module:
    """The kernels of one source, compiled for the CPU.

    `checked` reports accesses out of bounds, uninitialised shared memory and races, and counts
    the accesses of every tensor.
    """

    def __init__(
        self,
        source: Path,
        names: Sequence[str],
        macros: Sequence[tuple[str, str]] = (),
        checked: bool = True,
    ) -> None:
        self.path = compile_kernels(source.resolve(), names, macros, checked)
        self.checked, self.numbers = checked, {name: i for i, name in enumerate(names)}
        self.library = ctypes.CDLL(str(self.path))
        self.traffic: list[Traffic] = []

    def launch(
        self,
        name: str,
        grid: Sequence[int],
        block: Sequence[int],
        arguments: Sequence[Any],
        how: How | None = None,
    ) -> None:
        """Execute a kernel; afterwards `traffic` has one entry per tensor among the arguments.

        Raises: KernelError as a GPU or the checker would complain.
        """
        how = how or How()
        function = getattr(self.library, f"shim_kernel_{self.numbers[name]}")
        function.restype = ctypes.c_char_p
        launch = _Launch()
        launch.grid[:], launch.block[:] = _triple(grid), _triple(block)
        launch.schedule, launch.seed, launch.flush = how.schedule, how.seed, how.flush
        launch.first_block, launch.last_block = how.blocks
        launch.check = self.checked
        self._register(arguments)
        kept, letters = _pack(arguments)
        pointers = (ctypes.c_void_p * len(kept))(*[value.ctypes.data for value in kept])
        error = function(ctypes.byref(launch), pointers, letters.encode())
        self.traffic = [self._traffic(a) for a in arguments if isinstance(a, torch.Tensor)]
        if error:
            raise KernelError(self._with_lines(error.decode()))

    def _register(self, arguments: Sequence[Any]) -> None:
        """Tell the checker which memory may be touched."""
        self.library.shim_unregister_all()
        for first, last in _constants(self.path):
            self.library.shim_register(ctypes.c_void_p(first), ctypes.c_size_t(last - first))
        for tensor in arguments:
            if isinstance(tensor, torch.Tensor):
                size = ctypes.c_size_t(_reach(tensor))
                self.library.shim_register(ctypes.c_void_p(tensor.data_ptr()), size)

    def _traffic(self, tensor: torch.Tensor) -> Traffic:
        counts = (ctypes.c_uint64 * 3)()
        self.library.shim_traffic(ctypes.c_void_p(tensor.data_ptr()), counts)
        return Traffic(*counts)

    def _with_lines(self, message: str) -> str:
        """Replace addresses of code by file and line."""
        start = min(first for first, _ in _mappings(self.path))

        def line(match: re.Match[str]) -> str:
            offset = hex(int(match[1], 16) - start - 1)
            command = ["addr2line", "-i", "-e", str(self.path), offset]
            found = subprocess.run(command, capture_output=True, text=True, check=False).stdout
            places = [place.split("/")[-1] for place in found.splitlines()]
            return next((p for p in places if ".cu" in p), places[0] if places else match[0])

        return re.sub(r"code=(0x[0-9a-f]+)", line, message)


def _triple(size: Sequence[int]) -> tuple[int, ...]:
    return (*size, *[1] * (3 - len(size)))


def _reach(tensor: torch.Tensor) -> int:
    """Bytes from the first to the last element."""
    if not tensor.numel():
        return 0
    last = sum((n - 1) * s for n, s in zip(tensor.shape, tensor.stride(), strict=True))
    return (last + 1) * tensor.element_size()


def _pack(arguments: Sequence[Any]) -> tuple[list[np.ndarray], str]:
    """The values of the arguments and a letter for the type of each."""
    kept, letters = [], ""
    for value in arguments:
        if isinstance(value, torch.Tensor):
            kept.append(np.array(value.data_ptr(), dtype=np.uint64))
            letters += "p"
        elif value is None:
            kept.append(np.array(0, dtype=np.uint64))
            letters += "p"
        elif isinstance(value, np.generic):
            kept.append(np.array(value))
            letters += LETTERS[value.dtype.str[1:]]
        else:
            raise TypeError(f"got {type(value)}; pass tensors, None and numpy scalars.")
    return kept, letters


def _mappings(path: Path, kind: str = "") -> list[tuple[int, int]]:
    """Where a library lies in memory; kind is the start of the permissions, r--p for constants."""
    found = []
    for entry in Path("/proc/self/maps").read_text(encoding="utf-8").splitlines():
        span, permissions, *rest = entry.split()
        if rest[-1] == str(path) and permissions.startswith(kind):
            first, last = (int(end, 16) for end in span.split("-"))
            found.append((first, last))
    return found


@cache
def _constants(path: Path) -> list[tuple[int, int]]:
    """The tables of constants of a kernel, which it may read."""
    return _mappings(path, "r--p")
