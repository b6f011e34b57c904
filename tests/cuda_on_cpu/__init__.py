"""CUDA kernels without a GPU: compiled by NVRTC (nvrtc.py), executed on the CPU (module.py)."""

import importlib.util
import shutil
import sys
import sysconfig
from pathlib import Path

import pytest


def _missing() -> str | None:
    """What these tools need and this machine lacks."""
    headers = Path(sysconfig.get_paths()["purelib"]) / "nvidia/cu13/include/cuda_fp16.h"
    if sys.platform != "linux":
        return "Linux"
    if shutil.which("g++") is None:
        return "g++"
    if not headers.exists():
        return "CUDA's headers, which torch built for CUDA 13 brings"
    for package in ("cupy", "triton"):
        if importlib.util.find_spec(package) is None:
            return package
    return None


if (_need := _missing()) is not None:
    pytest.skip(f"the CUDA kernels are checked with {_need}", allow_module_level=True)
