"""What stands before the first step of a run: accelerator, run directory, first lines."""

from __future__ import annotations

import os
import secrets
import shlex
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
import yaml
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import broadcast_object_list
from rich.console import Console
from torch import nn

from experiments.config.parse import to_dict
from experiments.config.resume import (
    FREE,
    REFUSED,
    changed_facts,
    complete,
    differences,
    policy,
)
from experiments.config.schema import Config
from experiments.errors import CheckpointError, ConfigError, UserError
from experiments.files import atomic_path, write_json
from experiments.runs.directory import (
    Changes,
    RunDirectory,
    find_parent,
    make_new,
    read_config,
    require_same,
    resolve_checkpoint,
    unfinished,
)
from experiments.runs.lock import RunLock
from experiments.runs.manifest import build_manifest, now
from experiments.runs.tracking import describe_device
from experiments.tasks.base import Task
from experiments.training.allocator import keep_large_allocations
from experiments.training.checkpoint import META, UNKNOWN, read_meta, sha256_of
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


@dataclass(frozen=True)
class Opened:
    """Where a run is, and where it goes on from.

    checkpoint: of this run, to resume from; parent: of another run, to begin with; test: the result
    of a run that has finished, with nothing left to do. changes: what a resume changes that the
    manifest must tell. number: of the run among those of its name. lock: on the first process,
    of the directory that is written.
    """

    directory: RunDirectory
    checkpoint: Path | None = None
    parent: Path | None = None
    test: dict[str, Any] | None = None
    changes: Changes = field(default_factory=dict)
    number: int = 0
    notes: tuple[str, ...] = ()
    lock: RunLock | None = None


def open_run_directory(
    config: Config, facts: dict[str, Any], accelerator: Accelerator, console: Console
) -> Opened:
    """Choose the run directory and the checkpoint to start from, on the first process for all.

    A directory that is to be written is locked.

    Raises: ConfigError, CheckpointError: on all processes.
    """
    found: list[Any] = [None]
    lock = None
    if accelerator.is_main_process:
        try:
            opened = _open(config, facts)
            lock = opened.lock
            found = [replace(opened, lock=None)]
        except UserError as error:
            found = [error]
    broadcast_object_list(found)
    if isinstance(found[0], UserError):
        raise found[0]
    for note in found[0].notes:
        console.print(note)
    return replace(found[0], lock=lock)


def _open(config: Config, facts: dict[str, Any]) -> Opened:
    resume, start = config.trainer.resume, config.trainer.start_from
    notes: list[str] = []
    if resume == "auto":
        found = _take_newest(config, facts, notes)
        if found is not None:
            return replace(found, notes=(*notes, *found.notes))
        notes.append("trainer.resume=auto: no unfinished run with this config; a new one starts")
    elif resume is not None:
        path, checkpoint = resolve_checkpoint("trainer.resume", resume)
        opened = _take_up(RunDirectory(path), checkpoint, config, facts)
        if opened.checkpoint is not None or opened.test is not None or start is None:
            return opened
        return replace(opened, parent=find_parent(start))
    parent = None if start is None else find_parent(start)
    path, number = make_new(config.runs_dir, config.name, config.seed)
    lock = RunLock(path)
    lock.take()  # nobody else knows of it yet
    directory = RunDirectory(path)
    directory.checkpoints.run = secrets.token_hex(8)
    return Opened(directory, parent=parent, number=number, notes=tuple(notes), lock=lock)


def _take_newest(config: Config, facts: dict[str, Any], notes: list[str]) -> Opened | None:
    """The newest unfinished run of the same name and config that has a checkpoint, or None.

    Those of another config are passed over in silence, others with a note.
    """
    values = to_dict(config)
    for run in unfinished(config.runs_dir, config.name):
        try:
            changed = differences(read_config(run.config), values)
            if any(policy(key) == REFUSED for key in changed) or not run.checkpoints.steps():
                continue
            return _take_up(run, None, config, facts)
        except CheckpointError as error:
            notes.append(f"trainer.resume=auto passes over {run.path}: {error}")
    return None


def _take_up(
    directory: RunDirectory, checkpoint: Path | None, config: Config, facts: dict[str, Any]
) -> Opened:
    """This run from a checkpoint, the last one unless given, under its lock.

    Raises CheckpointError: another process trains in it, it is damaged, or it is not this run.
    """
    saved, values = read_config(directory.config), to_dict(config)
    changes = require_same(differences(saved, values), directory.path)
    test = directory.finished_test()
    if test is not None and checkpoint is None:
        return Opened(directory, test=test)
    lock = RunLock(directory.path)
    try:
        holder = lock.take()
    except OSError as error:
        raise CheckpointError(f"cannot write {directory.path}: {error}") from error
    if holder is not None:
        raise CheckpointError(
            f"{directory.path} is being trained by {holder}. Wait for its end, or start a new run "
            "without trainer.resume."
        )
    try:
        directory.tidy()
        store = directory.checkpoints
        taken = checkpoint or store.last()
        if taken is None and store.run == UNKNOWN:
            store.run = secrets.token_hex(8)
        if taken is not None:
            changes |= _check_taken(directory, taken, saved, facts)
    except BaseException:
        lock.release()
        raise
    notes = [f"{path} was written by another run; it is passed over" for path in store.foreign()]
    return Opened(
        directory, taken, changes=changes, number=directory.number(), notes=tuple(notes), lock=lock
    )


def _check_taken(
    directory: RunDirectory, taken: Path, saved: dict[str, Any], facts: dict[str, Any]
) -> Changes:
    """Whether a checkpoint is of this run, of these data, and made the same way.

    Returns what differs and must be recorded. Raises CheckpointError: what differs and may not.
    """
    store = directory.checkpoints
    if store.is_foreign(taken):
        raise CheckpointError(
            f"{taken} was written by another run than that of {directory.path}. Give one of its "
            f"own, or the run directory for the last of these."
        )
    try:
        meta = read_meta(taken)
    except CheckpointError as error:
        raise store.damaged(taken, error) from error
    if store.run == UNKNOWN:
        store.run = meta.get("run")
    altered = differences(saved, complete(meta["config"]))
    if any(policy(key) == REFUSED for key in altered):
        require_same(altered, directory.config)
    return require_same(changed_facts(meta.get("facts") or {}, facts), directory.path)


def start_files(
    opened: Opened, config: Config, manifest: dict[str, Any], accelerator: Accelerator
) -> dict[str, Any]:
    """Write config.yaml and the first manifest, on the first process; return the manifest.

    Raises ConfigError: the directory cannot be written.
    """
    directory, resumed = opened.directory, opened.checkpoint is not None
    manifest = {"id": directory.checkpoints.run, **manifest, **history(opened, config)}
    if not accelerator.is_main_process:
        return manifest
    try:
        if not resumed:
            with atomic_path(directory.config) as file:
                text = yaml.safe_dump(to_dict(config), sort_keys=False)
                file.write_text(text, encoding="utf-8")
            directory.metrics.unlink(missing_ok=True)
        write_json(directory.manifest, manifest)
    except OSError as error:
        raise ConfigError(
            f"cannot write the run directory {directory.path}: {error}\nChoose "
            "another place with runs_dir=PATH"
        ) from error
    return manifest


def describe_run(
    config: Config, accelerator: Accelerator, model: nn.Module, task: Task
) -> dict[str, Any]:
    """The manifest of a run that starts now, before it has a place."""
    return build_manifest(
        name=config.name,
        seed=config.seed,
        command=shlex.join([sys.executable, *sys.argv]),
        processes=accelerator.num_processes,
        device=describe_device(accelerator.device),
        precision=accelerator.mixed_precision,
        parameters=count_parameters(model),
        macs=count_macs(model, task.input_shape),
        input_shape=task.input_shape,
        task=task.row,
        monitor=str(config.trainer.monitor),
    )


def history(opened: Opened, config: Config) -> dict[str, Any]:
    """What a manifest tells of a run's past: its parent, and each time that it was taken up."""
    past: dict[str, Any] = {"parent": None, "resumed": [], "number": opened.number}
    if opened.parent is not None:
        run = opened.parent.parent.parent
        changed = differences(read_config(run / "config.yaml"), to_dict(config))
        past["parent"] = {
            "run": str(run),
            "checkpoint": opened.parent.name,
            "sha256": sha256_of(opened.parent / META),
            "changed": {key: list(pair) for key, pair in changed.items() if policy(key) != FREE},
        }
    if opened.checkpoint is not None:
        before = opened.directory.read_manifest()
        past["parent"] = before.get("parent")
        taken_up = {
            "time": now(),
            "checkpoint": opened.checkpoint.name,
            "changed": {key: list(pair) for key, pair in opened.changes.items()},
        }
        past["resumed"] = [*before.get("resumed", []), taken_up]
    return past
