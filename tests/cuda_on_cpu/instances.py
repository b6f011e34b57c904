"""Which instances of the kernels exist: what the host code asks for, written down, not run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch

from conv_kan.bases import BASES
from conv_kan.ops.cupy import launch as cupy_launch
from conv_kan.ops.cupy.sources import TYPES, Kernel
from conv_kan.ops.maths.wavelets import WAVELETS
from tests.cuda_on_cpu.cases import (
    knots_case,
    make_case,
    run_expansion,
    run_rational,
    run_wavelet,
)
from tests.cuda_on_cpu.executor import Executor

TAPS = (1, 3)  # kernel sizes of wavelets, in two dimensions


class Recorder(Executor):
    """Notes the kernels of launches and does not run them."""

    def launch(self, kernel: Kernel, blocks: int, arguments: Sequence[Any], device: Any) -> None:
        self.modules[kernel] = None  # type: ignore[assignment]


def _ask(
    names: Sequence[str],
    dtypes: Sequence[torch.dtype],
    wavelets: Sequence[str],
    layouts: Sequence[bool],
) -> None:
    """Call the host code with everything that makes another instance."""
    for dtype in dtypes:
        for name in names:
            for last in layouts:
                list(run_expansion(make_case(name, size=(2, 8, 4), dtype=dtype, last=last)))
        list(run_expansion(knots_case(dtype=dtype)))
        list(run_rational((2, 8, 16), dtype))
        list(run_rational((2, 8, 5), dtype, channels_last=False))
        if dtype in (torch.float32, torch.float64):
            for wavelet in wavelets:
                for taps in TAPS:
                    list(run_wavelet(wavelet, dtype=dtype, kernel=taps))


def instances(
    names: Sequence[str] = tuple(BASES),
    dtypes: Sequence[torch.dtype] = tuple(TYPES),
    wavelets: Sequence[str] = tuple(WAVELETS),
) -> list[list[Kernel]]:
    """Kernels in 32- and 64-bit indexing, with and without atomics, one list per module."""
    recorder = Recorder()
    with pytest.MonkeyPatch.context() as patch:
        recorder.install(patch)
        for limit, deterministic in ((cupy_launch.INT_LIMIT, True), (0, False)):
            patch.setattr(cupy_launch, "INT_LIMIT", limit)
            torch.use_deterministic_algorithms(deterministic)
            _ask(names, dtypes, wavelets, (False, True) if limit else (False,))
        torch.use_deterministic_algorithms(False)
    modules: dict[Any, list[Kernel]] = defaultdict(list)
    for kernel in recorder.modules:
        modules[kernel.file, kernel.macros].append(kernel)
    return list(modules.values())


def describe(kernel: Kernel) -> Iterator[str]:
    """The columns of a table: kernel, functions, base."""
    macros = dict(kernel.macros)
    yield kernel.expression
    yield macros.get("KAN_BASIS") or macros.get("KAN_WAVELET") or ""
    yield macros.get("KAN_TAPS", "")
