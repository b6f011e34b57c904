"""Lets the project's own host code run its kernels on the CPU, in place of CuPy on a GPU."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from conv_kan.ops import backend, wavelet_conv
from conv_kan.ops.cupy import launch as cupy_launch
from conv_kan.ops.cupy import wavelet as cupy_wavelet
from conv_kan.ops.cupy.sources import Kernel, sources
from tests.cuda_on_cpu.build import edited_copy
from tests.cuda_on_cpu.module import How, Module, Traffic


@dataclass(frozen=True)
class Launch:
    """One launch that was executed: the name of the kernel, its blocks, traffic per tensor."""

    name: str
    kernel: Kernel
    blocks: int
    traffic: list[Traffic]


@dataclass
class Executor:
    """Executes launches on the CPU.

    `edits` replace text of a source, to plant bugs: {file: (pattern, replacement)}; `processors`
    is what the device is said to have.
    """

    how: How = field(default_factory=How)
    checked: bool = True
    processors: int = 1
    edits: tuple[tuple[str, str, str], ...] = ()
    launches: list[Launch] = field(default_factory=list)
    modules: dict[Kernel, Module] = field(default_factory=dict)

    def launch(self, kernel: Kernel, blocks: int, arguments: Sequence[Any], device: Any) -> None:
        """Stands for launch of conv_kan.ops.cupy.launch."""
        assert torch.device(device).type == "cpu"
        if kernel not in self.modules:
            folder = sources() if not self.edits else self._edited_sources()
            self.modules[kernel] = Module(
                folder / kernel.file, [kernel.expression], kernel.macros, self.checked
            )
        module = self.modules[kernel]
        threads = cupy_launch.THREADS
        module.launch(kernel.expression, (blocks,), (threads,), arguments, self.how)
        name = re.split("[:<]+", kernel.expression)[1]
        self.launches.append(Launch(name, kernel, blocks, module.traffic))

    def install(self, monkeypatch: Any) -> Executor:
        """Serve backend="cupy" on CPU tensors until the end of the test."""
        monkeypatch.setattr(cupy_launch, "launch", self.launch)
        monkeypatch.setattr(cupy_launch, "why_not", lambda dtype: None)
        monkeypatch.setattr(cupy_launch, "processors", lambda device: self.processors)
        monkeypatch.setitem(backend._COMPILED, "cpu", "cupy")
        monkeypatch.setattr(wavelet_conv, "_module", lambda x: cupy_wavelet)
        return self

    def _edited_sources(self) -> Path:
        """A copy of the sources with the edits, each of which must change something."""
        return edited_copy(sources(), self.edits)
