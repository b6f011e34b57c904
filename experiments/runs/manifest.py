"""The record of how a run was made: code, versions, machine, outcome."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from conv_kan.ops.backend import forget_backends
from experiments.config.checks import require_choice
from experiments.files import read_mapping, write_json
from experiments.machine import usable_cores
from experiments.tasks.rows import TaskRow

STATUSES = ("running", "finished", "interrupted", "failed")
# What is known at a run's end, and None before.
AT_THE_END = (
    "finished",  # ISO time
    "ended",  # why training did: epochs or patience
    "wall_seconds",
    "step_seconds",  # median over optimizer steps
    "images_per_second",  # over all processes
    "data_share",  # of the training time, spent waiting for samples
    "peak_memory_bytes",
    "backend",  # who computed the layers' expansions: torch, cpp, cupy or several joined by "+"
)
PACKAGES = ("torch", "torchvision", "accelerate", "hydra-core", "timm", "torchmetrics", "numpy")


# ------------------------------------------------------------------------------------- the manifest
def build_manifest(
    *,
    name: str,
    seed: int,
    device: torch.device | str,
    processes: int,
    precision: str,
    parameters: int,
    macs: int,
    input_shape: Sequence[int],
    task: TaskRow,
    monitor: str,
) -> dict[str, Any]:
    """Describe a run that starts now; `update_manifest` fills in what is known AT_THE_END.

    macs are of one input of an evaluation, or of one window of it (task.window).
    """
    forget_backends()
    return {
        "name": name,
        "task": task.name,
        "report": {
            "columns": [asdict(figure) for figure in task.columns],
            "monitor": asdict(task.figure(monitor)),
        },
        "seed": seed,
        "status": "running",
        "started": now(),
        **dict.fromkeys(AT_THE_END),
        "command": shlex.join([sys.executable, *sys.argv]),
        "git": git_state(Path(__file__).parent),
        "device": str(device),
        "processes": processes,
        "threads": torch.get_num_threads(),
        "precision": precision,
        "parameters": parameters,
        "macs": macs,
        "input_shape": list(input_shape),
        "versions": package_versions(),
        "hardware": hardware(),
    }


def update_manifest(path: str | Path, **fields: Any) -> dict[str, Any]:
    """Set fields of the manifest at path, replacing the file atomically; return the new manifest.

    Raises:
        ConfigError: status is not one of running, finished, interrupted, failed.
    """
    if "status" in fields:
        require_choice("status", fields["status"], STATUSES)
    manifest = read_mapping(path)
    manifest.update(fields)
    write_json(path, manifest)
    return manifest


def now() -> str:
    """The time in UTC as ISO 8601, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


# --------------------------------------------------------------------------------- its surroundings
def git_state(directory: Path) -> dict[str, Any] | None:
    """{"sha": commit, "dirty": whether files differ from it}, or None outside a git checkout."""
    sha = _output_of("git", "-C", str(directory), "rev-parse", "--verify", "HEAD")
    if sha is None:
        return None
    changes = _output_of("git", "-C", str(directory), "status", "--porcelain")
    return {"sha": sha, "dirty": changes != ""}


def package_versions() -> dict[str, str | None]:
    """Versions of Python and the packages a result depends on, read without importing any."""
    versions: dict[str, str | None] = {"python": platform.python_version()}
    for package in PACKAGES:
        versions[package] = _version_of(package)
    for distribution in metadata.distributions():
        # CuPy's wheels are named after the CUDA release they are built for: cupy-cuda13x.
        name = distribution.metadata["Name"] or ""
        if name == "cupy" or name.startswith("cupy-cuda"):
            versions[name] = distribution.version
    return versions


def hardware() -> dict[str, Any]:
    """Processor, usable cores, memory in bytes and GPUs of this machine; unknown entries None."""
    return {
        "cpu": _cpu_model(),
        "cores": usable_cores(),
        "memory_bytes": _memory_bytes(),
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
    }


def peak_memory_bytes(device: torch.device | str) -> int | None:
    """Largest memory so far: torch's allocations on a CUDA device, else the whole process's.

    None where the system does not tell (Windows).
    """
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # Linux counts in KiB


def _cpu_model() -> str | None:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    if sys.platform == "darwin":
        return _output_of("sysctl", "-n", "machdep.cpu.brand_string")
    return platform.processor() or platform.machine() or None


def _memory_bytes() -> int | None:
    with suppress(AttributeError, ValueError, OSError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return None


def _version_of(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _output_of(*command: str) -> str | None:
    """What command prints, stripped, or None if it is absent, fails or hangs."""
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.strip()
