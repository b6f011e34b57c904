"""What stands before the first step of a run: accelerator, run directory, first lines."""

from __future__ import annotations

import json
import os
import shlex
import sys
from pathlib import Path
from typing import Any

import torch
import yaml
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import broadcast_object_list
from rich.console import Console
from torch import nn

from experiments.allocator import keep_large_allocations
from experiments.data import DataInfo
from experiments.errors import ConfigError
from experiments.files import atomic_path, write_json
from experiments.manifest import build_manifest
from experiments.parse import to_dict
from experiments.run_directory import (
    RunDirectory,
    find_resumable,
    new_path,
    read_config,
    require_same,
    resolve_resume,
)
from experiments.schema import Config
from experiments.tracking import describe_device
from models.complexity import count_macs, count_parameters


def make_accelerator(config: Config) -> Accelerator:
    """Accelerate with the config's precision and compiler; friendly where it would raise."""
    trainer = config.trainer
    AcceleratorState._reset_state()  # a second run in this process may want another precision
    precision = trainer.precision
    try:
        accelerator = Accelerator(
            cpu=trainer.cpu,
            mixed_precision=precision,
            dynamo_backend="inductor" if trainer.compile else None,
        )
    except (ValueError, RuntimeError) as error:
        if precision is None:
            raise
        raise ConfigError(
            f"trainer.precision={precision}: {error}\nType trainer.precision=bf16 or "
            "trainer.precision=no"
        ) from error
    torch.use_deterministic_algorithms(trainer.deterministic, warn_only=True)
    # A debugging aid that goes with it: every new tensor is first filled with NaN, which costs a
    # training step 5 to 10 %. Nothing here reads memory that was not written.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = not trainer.deterministic
    if accelerator.device.type == "cpu":
        keep_large_allocations()
        set_threads(trainer.threads, accelerator.num_processes)
    return accelerator


def set_threads(wanted: int | None, processes: int) -> None:
    """Give each process its threads: those wanted, or its share of the cores.

    accelerate launch and torchrun set OMP_NUM_THREADS=1 unasked, which leaves cores idle. Who sets
    the variable and uses no launcher is obeyed.
    """
    launched = {"ACCELERATE_MIXED_PRECISION", "TORCHELASTIC_RUN_ID"} & os.environ.keys()
    if wanted is None and launched and os.environ.get("OMP_NUM_THREADS") == "1":
        affinity = getattr(os, "sched_getaffinity", None)  # absent on macOS
        cores = len(affinity(0)) if affinity else os.cpu_count() or 1
        local = int(os.environ.get("LOCAL_WORLD_SIZE", processes))
        wanted = max(cores // local, 1)
    if wanted is not None:
        torch.set_num_threads(wanted)


def print_processes(console: Console, accelerator: Accelerator, config: Config) -> None:
    count = accelerator.num_processes
    backend = f" ({torch.distributed.get_backend()})" if torch.distributed.is_initialized() else ""
    share = config.trainer.batch_size // (count * config.trainer.accumulation)
    console.print(
        f"{count} process{'es' if count > 1 else ''}{backend} on "
        f"{describe_device(accelerator.device)}{' each' if count > 1 else ''}; precision "
        f"{accelerator.mixed_precision}; {config.trainer.batch_size} images per step = "
        f"{count} x {config.trainer.accumulation} x {share}"
    )


def open_run_directory(
    config: Config, accelerator: Accelerator, console: Console
) -> tuple[RunDirectory, Path | None]:
    """Choose the run directory (the same on all processes) and the checkpoint to start from."""
    resume, values = config.trainer.resume, to_dict(config)
    if resume == "auto":
        found = find_resumable(config.runs_dir, config.name, values)
        if found is not None:
            directory = RunDirectory(found)
            return directory, directory.checkpoints.last()
        console.print("trainer.resume=auto: no unfinished run with this config; a new one starts")
    elif resume is not None:
        path, checkpoint = resolve_resume(resume)
        directory = RunDirectory(path)
        require_same(read_config(directory.config), values, path)
        if directory.status() == "finished" and directory.test.exists() and checkpoint is None:
            return directory, None
        return directory, checkpoint or directory.checkpoints.last()
    chosen = [str(new_path(config.runs_dir, config.name, config.seed).resolve())]
    broadcast_object_list(chosen)
    return RunDirectory(Path(chosen[0])), None


def start_files(
    directory: RunDirectory,
    config: Config,
    accelerator: Accelerator,
    model: nn.Module,
    info: DataInfo,
    resumed: bool,
) -> dict[str, Any]:
    """Write config.yaml and the first manifest, on the first process; return the manifest.

    Raises ConfigError: the directory cannot be written.
    """
    shape = (info.channels, info.image_size, info.image_size)
    manifest = build_manifest(
        name=config.name,
        seed=config.seed,
        command=shlex.join([sys.executable, *sys.argv]),
        processes=accelerator.num_processes,
        device=describe_device(accelerator.device),
        precision=accelerator.mixed_precision,
        parameters=count_parameters(model),
        macs=count_macs(model, shape),
        input_shape=shape,
    )
    if not accelerator.is_main_process:
        return manifest
    try:
        directory.path.mkdir(parents=True, exist_ok=True)
        if not resumed:
            with atomic_path(directory.config) as file:
                file.write_text(yaml.safe_dump(to_dict(config), sort_keys=False))
            directory.metrics.unlink(missing_ok=True)
        write_json(directory.manifest, manifest)
    except OSError as error:
        raise ConfigError(
            f"cannot write the run directory {directory.path}: {error}\nChoose "
            "another place with runs_dir=PATH"
        ) from error
    return manifest


def read_test(directory: RunDirectory) -> dict[str, Any]:
    """The test results of a finished run."""
    return dict(json.loads(directory.test.read_text()))
