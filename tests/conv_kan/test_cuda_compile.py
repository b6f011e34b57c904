"""Kernels compile for GPUs as CuPy compiles them, without spills, and load 128 bits at a time."""

import re

import pytest
import torch

from tests.cuda_on_cpu.instances import instances
from tests.cuda_on_cpu.nvrtc import ARCHITECTURES, compile_kernels, disassemble

MODULES = instances(["gram", "relu", "bspline"], [torch.float32, torch.bfloat16], ["morlet"])


@pytest.mark.parametrize(
    "architecture", [pytest.param(ARCHITECTURES[0], marks=pytest.mark.slow), 90]
)
def test_kernels_compile_without_spills(architecture):
    for kernels in MODULES:
        _, resources, _ = compile_kernels(kernels, architecture)
        for expression, used in resources.items():
            assert used.spilled == 0, (expression, used)
            assert used.shared <= 48 * 1024
            assert 0 < used.registers <= 255


def test_elementwise_kernels_load_and_store_16_bytes():
    kernels = next(m for m in MODULES if ("KAN_BASIS", "BSpline") in m[0].macros)
    forward = next(k for k in kernels if "expand_forward<float, float, int, 4, 0" in k.expression)
    cubin, _, names = compile_kernels([forward], 90)
    code = disassemble(cubin, names[forward.expression])
    assert re.search(r"LDG\.E\.128", code) and re.search(r"STG\.E\.128", code)
    assert "LDL" not in code and "STL" not in code
