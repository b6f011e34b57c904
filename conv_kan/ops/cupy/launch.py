"""Compiles CUDA kernels with CuPy at first use and launches them on torch's current stream.

This is the only module that imports cupy, and only when a kernel is about to run.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from conv_kan.ops.cupy.sources import TYPES, Kernel, read_source

THREADS = 256  # KAN_THREADS of cuda/memory.cuh
# Blocks per multiprocessor of a kernel that ends in a reduction: enough to fill the device.
BLOCKS_PER_PROCESSOR = 16
_SMALLEST = Kernel("rational.cu", "kan::rational_forward<float, int, 1, 1, 1>")
_INSTALL = (
    "Type pip install 'cupy-cuda13x[ctk]' (or 'cupy-cuda12x[ctk]', after the CUDA release of "
    "torch.version.cuda), which brings CUDA's headers too."
)
# Elements up to which 32-bit numbers hold every index, also one step beyond the last element.
INT_LIMIT = (1 << 30) - (1 << 12)


def why_not(dtype: torch.dtype) -> str | None:
    """Why kernels cannot run on this machine or for this dtype, with the remedy; None if they can.

    Imports cupy and compiles a kernel if there is a CUDA device.
    """
    if not torch.cuda.is_available():
        return (
            "torch sees no CUDA device (torch.cuda.is_available() is False). Use a machine with an "
            "NVIDIA GPU and its driver, or pass backend='torch'."
        )
    if dtype not in TYPES:
        names = ", ".join(str(t).removeprefix("torch.") for t in TYPES)
        return f"the input is {dtype} but the kernels take {names}. Type x.float()."
    return _problem()


@functools.cache
def _problem() -> str | None:
    """Why cupy cannot be imported or compile the smallest kernel; None if it can."""
    try:
        import cupy  # noqa: F401
    except ImportError as error:
        return f"cupy cannot be imported ({error}). {_INSTALL}"
    try:
        _compiled(_SMALLEST)
    except Exception as error:  # without CUDA's headers or libraries: whatever cupy makes of it
        first = next(iter(str(error).strip().splitlines()), "")
        return f"cupy cannot compile a kernel ({type(error).__name__}: {first}). {_INSTALL}"
    return None


def launch(
    kernel: Kernel, blocks: int, arguments: Sequence[Tensor | np.generic | None], device: Any
) -> None:
    """Start `blocks` blocks of THREADS threads on the current stream of the device.

    Tensors are passed by their addresses, None as a null pointer; the types of the numbers must be
    those that the kernel declares.
    Raises: cupy's CompileException or CUDADriverError; a failed launch is never silent.
    """
    import cupy

    values = tuple(a.data_ptr() if isinstance(a, Tensor) else a for a in arguments)
    with torch.cuda.device(device), cupy.cuda.Device(torch.cuda.current_device()):
        stream = SimpleNamespace(ptr=torch.cuda.current_stream().cuda_stream)
        _compiled(kernel)((blocks,), (THREADS,), values, stream=stream)


@functools.cache
def _compiled(kernel: Kernel) -> Any:
    """A cupy.RawKernel, which loads its code once on each device.

    CuPy keeps compiled code on disk by the text of the source, which has the headers written out.
    """
    import cupy

    module = cupy.RawModule(
        code=read_source(kernel.file),
        options=kernel.options,
        name_expressions=(kernel.expression,),
    )
    return module.get_function(kernel.expression)


def processors(device: torch.device) -> int:
    """The number of multiprocessors."""
    return torch.cuda.get_device_properties(device).multi_processor_count


def cover(packs: int) -> int:
    """Blocks with a thread for every pack."""
    return max(-(-packs // THREADS), 1)


def cover_rows(packs: int, rows: int, device: torch.device, threads: int = THREADS) -> int:
    """Blocks for each of `rows` reductions over `packs` packs, `threads` at a time."""
    limit = max(BLOCKS_PER_PROCESSOR * processors(device) // rows, 1)
    return min(max(-(-packs // threads), 1), limit)


def index_type(elements: int) -> tuple[str, type[np.signedinteger[Any]]]:
    """The C++ type of indices into so many elements, and numpy's."""
    return ("int", np.int32) if elements <= INT_LIMIT else ("long long", np.int64)


def is_aligned(tensors: Sequence[Tensor | None], pack: int) -> bool:
    """Whether packs of so many elements lie at multiples of their size in every tensor."""
    return all(t is None or t.data_ptr() % (pack * t.element_size()) == 0 for t in tensors)
