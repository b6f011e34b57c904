"""What a run says on the terminal before its first step and after its last."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from rich.console import Console
from rich.table import Table

from experiments.config.schema import Config
from experiments.data import Datasets
from experiments.runs.directory import RunDirectory
from experiments.tasks.base import Task
from experiments.tasks.rows import task_row

WORDS = {"best.safetensors": "weights", "test.json": "results"}  # what people call these files


def print_processes(console: Console, accelerator: Accelerator, config: Config) -> None:
    count = accelerator.num_processes
    backend = f" ({torch.distributed.get_backend()})" if torch.distributed.is_initialized() else ""
    share = config.trainer.batch_size // (count * config.trainer.accumulation)
    unit = task_row(config.task.name).unit
    console.print(
        f"{count} process{'es' if count > 1 else ''}{backend} on "
        f"{describe_device(accelerator.device)}{' each' if count > 1 else ''}; precision "
        f"{accelerator.mixed_precision}; {config.trainer.batch_size} {unit}s per step = "
        f"{count} x {config.trainer.accumulation} x {share}"
    )


def print_start(
    console: Console,
    config: Config,
    manifest: dict[str, Any],
    data: Datasets,
    directory: RunDirectory,
) -> None:
    unit = task_row(config.task.name).unit
    tested = f"{len(data.test)} test {unit}s" if config.trainer.test else "no test"
    trained = " (of them" if config.data.fit == "all" else ","
    closed = ")" if config.data.fit == "all" else ""
    console.print(
        f"{config.model['name']} on {config.data.name}: {manifest['parameters']:,} parameters"
        f"{_frozen(manifest)}, "
        f"{manifest['macs']:,} multiply-adds per input; {len(data.train)} training{trained} "
        f"{len(data.validation)} validation{closed}, {tested}"
    )
    console.print(f"run directory: {directory.path}")


def _frozen(manifest: dict[str, Any]) -> str:
    """How many of the parameters are frozen, and in which way; nothing where none is."""
    frozen = manifest["frozen"]
    if not frozen["parameters"]:
        return ""
    return f" ({frozen['parameters']:,} of them frozen: {frozen['how']})"


def print_summary(
    console: Console,
    config: Config,
    task: Task,
    directory: RunDirectory,
    values: dict[str, float],
    best_epoch: int,
    pictures: list[Path],
) -> None:
    title = (
        f"{config.model['name']} on {config.data.name}, test split, weights of epoch {best_epoch}"
    )
    table = Table(title=title)
    table.add_column("metric")
    table.add_column("value", justify="right")
    for name, value in task.summary(values):
        table.add_row(name, value)
    console.print(table)
    for path in (*pictures, directory.best, directory.test):
        label = WORDS.get(path.name, path.stem.partition("_")[0])
        console.print(f"{label:>10}: {path}")


def describe_device(device: torch.device) -> str:
    """'cpu, 2 threads' or the name of the GPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{device.type}, {threads} thread{'s' if threads > 1 else ''}"
