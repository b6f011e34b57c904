"""What stands before the first step of a run: accelerator, batches, manifest, first files."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import nn

from experiments.config.parse import to_dict
from experiments.config.resume import FREE, differences, policy
from experiments.config.schema import Config
from experiments.data import Sampling, TrainLoader
from experiments.errors import ConfigError
from experiments.files import atomic_path, write_json
from experiments.machine import usable_cores
from experiments.runs.console import describe_device
from experiments.runs.directory import RunDirectory, read_config
from experiments.runs.manifest import build_manifest, now
from experiments.runs.opening import Opened
from experiments.tasks.base import Task
from experiments.training.allocator import keep_large_allocations
from experiments.training.checkpoint import META
from experiments.training.tensor_files import sha256_of
from models import check_options
from models.complexity import count_macs, count_parameters
from models.description import Description
from models.registry import MATCH


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
        local = int(os.environ.get("LOCAL_WORLD_SIZE", processes))
        wanted = max(usable_cores() // local, 1)
    if wanted is not None:
        torch.set_num_threads(wanted)


def training_loader(
    config: Config, task: Task, dataset: Any, *, rank: int, world_size: int
) -> TrainLoader:
    """The micro-batches of a run, changed at random unless some are to be learnt by heart."""
    trainer = config.trainer
    sampling = Sampling(
        shuffle=config.seed_of("shuffle"),
        augment=config.seed_of("augment"),
        mixup=config.seed_of("mixup"),
        repeats=1 if trainer.overfit_batches else config.data.repeats,
        classes=task.classes_of(dataset) if config.data.balance else None,
    )
    return TrainLoader(
        dataset,
        task.recipe(training=trainer.overfit_batches == 0),
        batch_size=trainer.batch_size,
        accumulation=trainer.accumulation,
        sampling=sampling,
        rank=rank,
        world_size=world_size,
        workers=config.data.workers,
        limit_steps=trainer.limit_steps,
        overfit_batches=trainer.overfit_batches,
    )


def start_files(opened: Opened, config: Config, manifest: dict[str, Any]) -> None:
    """Write config.yaml and the first manifest (on the first process). Raises: OSError."""
    directory = opened.directory
    manifest = {"id": directory.checkpoints.run, **manifest, **history(opened, config)}
    if opened.checkpoint is None:
        with atomic_path(directory.config) as file:
            text = yaml.safe_dump(to_dict(config), sort_keys=False)
            file.write_text(text, encoding="utf-8")
        directory.metrics.unlink(missing_ok=True)
    write_json(directory.manifest, manifest)


def describe_run(
    config: Config, accelerator: Accelerator, model: nn.Module, task: Task
) -> dict[str, Any]:
    """The manifest of a run that starts now, before it has a place."""
    return build_manifest(
        name=config.name,
        seed=config.seed,
        processes=accelerator.num_processes,
        device=describe_device(accelerator.device),
        precision=accelerator.mixed_precision,
        parameters=count_parameters(model),
        macs=count_macs(model, task.computed_shape(model)),
        input_shape=task.input_shape,
        task=task.row,
        monitor=str(config.trainer.monitor),
    )


def describe(name: str, options: Mapping[str, Any], task: Task) -> Description:
    """What the trained network will be, with the options it has unasked: defaults may change.

    Without the backend, which changes roundings and is chosen anew wherever the network is used.
    """
    values = check_options(name, options)
    whole = {key: value for key, value in values.items() if key not in (*MATCH, "backend")}
    return Description(model=name, options=whole, **task.describe())


def script_of(function: Callable[..., Any]) -> dict[str, str]:
    """The file that a run's data come from, which may also register its model; {}: none of a
    user's."""
    module = inspect.unwrap(function).__module__
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None or module.partition(".")[0] == "experiments":
        return {}
    return {"path": str(Path(file).resolve()), "sha256": sha256_of(Path(file))}


def history(opened: Opened, config: Config) -> dict[str, Any]:
    """What a manifest tells of a run's past: its parent, and each time that it was taken up."""
    past: dict[str, Any] = {"parent": None, "resumed": [], "number": opened.number}
    if opened.parent is not None:
        run = opened.parent.parent.parent
        if opened.prolongs:
            past["weights"] = RunDirectory(run).read_manifest().get("weights")
        changed = differences(read_config(run / "config.yaml"), to_dict(config))
        past["parent"] = {
            "run": str(run),
            "checkpoint": opened.parent.name,
            "prolonged": opened.prolongs,
            "sha256": sha256_of(opened.parent / META),
            "changed": {key: list(pair) for key, pair in changed.items() if policy(key) != FREE},
        }
    if opened.checkpoint is not None:
        before = opened.directory.read_manifest()
        past |= {"parent": before.get("parent"), "weights": before.get("weights")}
        taken_up = {
            "time": now(),
            "checkpoint": opened.checkpoint.name,
            "changed": {key: list(pair) for key, pair in opened.changes.items()},
        }
        earlier = before.get("resumed")
        past["resumed"] = [*(earlier if isinstance(earlier, list) else []), taken_up]
    return past
