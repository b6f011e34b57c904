"""Compiles kernels for GPUs without one, exactly as CuPy does, and reads the compiler's log.

CuPy's RawModule asks the driver for the architecture. Its compiler underneath does not, but it is
private: `test_cuda_compile.py` notices when it moves.
"""

from __future__ import annotations

import io
import re
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import triton
from cupy._core import core
from cupy.cuda import compiler

from conv_kan.ops.cupy.sources import Kernel, read_source

ARCHITECTURES = (75, 80, 86, 89, 90, 100, 120)


@dataclass(frozen=True)
class Resources:
    """What one kernel takes on one architecture; bytes but for `registers`, per thread or block."""

    registers: int
    spilled: int
    stack: int
    shared: int


def compile_kernels(
    kernels: Sequence[Kernel], architecture: int
) -> tuple[bytes, dict[str, Resources], dict[str, str]]:
    """(cubin, resources by expression, mangled name by expression) of kernels of one module.

    Raises: cupy.cuda.compiler.CompileException, or RuntimeError for a warning of the compiler.
    """
    first = kernels[0]
    assert all((k.file, k.macros) == (first.file, first.macros) for k in kernels)
    log = io.StringIO()
    options = (
        *core.assemble_cupy_compiler_options(first.options),
        "-ftz=true",
        f"-arch=sm_{architecture}",
        "--device-as-default-execution-space",
        "--ptxas-options=-v",
    )
    expressions = tuple(kernel.expression for kernel in kernels)
    program = compiler._NVRTCProgram(
        read_source(first.file), first.file, (), (), name_expressions=expressions, method="cubin"
    )
    # CuPy leaves out the last byte, which disassemblers want.
    cubin, names = program.compile(options, log)
    text = log.getvalue()
    if "warning" in text.lower():
        raise RuntimeError(text)
    found = _read_log(text)
    return cubin + b"\0", {e: found[names[e]] for e in expressions}, names


def _read_log(text: str) -> dict[str, Resources]:
    """The resources by mangled name, from ptxas -v."""
    numbers: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    name = ""
    for line in text.splitlines():
        if entry := re.search(r"Compiling entry function '(\S+)'", line):
            name = entry[1]
        patterns = {
            "stack": r"(\d+) bytes stack frame",
            "stores": r"(\d+) bytes spill stores",
            "loads": r"(\d+) bytes spill loads",
            "registers": r"Used (\d+) registers",
            "shared": r"(\d+) bytes smem",
        }
        for key, pattern in patterns.items():
            if match := re.search(pattern, line):
                numbers[name][key] = int(match[1])
    return {
        name: Resources(n["registers"], n["stores"] + n["loads"], n["stack"], n["shared"])
        for name, n in numbers.items()
    }


def disassemble(cubin: bytes, mangled: str) -> str:
    """The machine code of one kernel."""
    tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        command = [str(tool), "-sass", "-fun", mangled, file.name]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout
