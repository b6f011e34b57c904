"""Where a run is and goes on from: a directory of its own, or one that is taken up, locked."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from rich.console import Console

from experiments.config.parse import to_dict
from experiments.config.resume import (
    REFUSED,
    changed_facts,
    complete,
    differences,
    policy,
    prolongs,
)
from experiments.config.schema import Config
from experiments.errors import CheckpointError, ConfigError, UserError, shortage
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
from experiments.training.checkpoint import UNKNOWN, read_meta
from experiments.training.first import on_first


@dataclass(frozen=True)
class Opened:
    """Where a run is, and where it goes on from.

    checkpoint: of this run, to resume from; parent: of another run, to begin with, or, where this
    one `prolongs` it, to go on from; test: the result of a run that has finished, with nothing left
    to do. changes: what a resume changes that the manifest must tell. number: of the run among
    those of its name. lock: on the first process, of the directory that is written.
    """

    directory: RunDirectory
    checkpoint: Path | None = None
    parent: Path | None = None
    prolongs: bool = False
    test: dict[str, Any] | None = None
    changes: Changes = field(default_factory=dict)
    number: int = 0
    notes: tuple[str, ...] = ()
    lock: RunLock | None = None


# (epochs of the config of a run, its optimizer steps so far) -> None, or ConfigError.
CheckLength = Callable[[int, int], None]


def open_run_directory(
    config: Config,
    facts: dict[str, Any],
    accelerator: Accelerator,
    console: Console,
    check_length: CheckLength,
) -> Opened:
    """Choose the run directory and the checkpoint to start from, on the first process for all.

    A directory that is to be written is locked. check_length: refuses to prolong a run whose
    schedule does not allow it.

    Raises: ConfigError, CheckpointError: on all processes.
    """
    locks: list[RunLock | None] = [None]

    def open_on_first() -> Opened:
        try:
            opened = _open(config, facts, check_length)
        except OSError as error:
            raise _unwritable(config, error) from error
        locks[0] = opened.lock
        return replace(opened, lock=None)

    opened = on_first(accelerator, open_on_first)
    for note in opened.notes:
        console.print(note)
    return replace(opened, lock=locks[0])


def _unwritable(config: Config, error: OSError) -> UserError:
    return shortage(error) or ConfigError(
        f"runs_dir={config.runs_dir}, name={config.name}: {error.strerror}; choose others"
    )


def _open(config: Config, facts: dict[str, Any], check_length: CheckLength) -> Opened:
    resume, start = config.trainer.resume, config.trainer.start_from
    notes: list[str] = []
    if resume == "auto":
        found = _take_newest(config, facts, notes)
        if found is not None:
            return replace(found, notes=(*notes, *found.notes))
        notes.append("trainer.resume=auto: no unfinished run with this config; a new one starts")
    elif resume is not None:
        path, checkpoint = resolve_checkpoint("trainer.resume", resume)
        run = RunDirectory(path)
        if prolongs(differences(read_config(run.config), to_dict(config))):
            return _prolong(run, checkpoint, config, facts, check_length)
        opened = _take_up(run, checkpoint, config, facts)
        if opened.checkpoint is not None or opened.test is not None or start is None:
            return opened
        return replace(opened, parent=find_parent(start))
    parent = None if start is None else find_parent(start)
    return replace(_make(config), parent=parent, notes=tuple(notes))


def _make(config: Config) -> Opened:
    """A run directory of its own, locked."""
    path, number = make_new(config.runs_dir, config.name, config.seed)
    lock = RunLock(path)
    try:
        lock.take()  # nobody else knows of it yet
    except OSError as error:
        lock.release()
        raise CheckpointError(f"cannot write {path}: {error}") from error
    directory = RunDirectory(path)
    directory.checkpoints.run = secrets.token_hex(8)
    return Opened(directory, number=number, lock=lock)


def _prolong(
    run: RunDirectory,
    checkpoint: Path | None,
    config: Config,
    facts: dict[str, Any],
    check_length: CheckLength,
) -> Opened:
    """A directory of its own for a run with more epochs, which leaves the shorter one as it is.

    Raises ConfigError, CheckpointError: the schedule does not allow it, the run ended by its
    patience, which is unchanged, or has no checkpoint that fits.
    """
    saved = read_config(run.config)
    ended, patience = run.read_manifest().get("ended") or {}, saved["trainer"]["patience"]
    if ended.get("reason") == "patience" and config.trainer.patience == patience:
        raise ConfigError(
            f"trainer.resume={run.path}: this run was ended in epoch {ended.get('epoch')} by "
            f"trainer.patience={patience}, as it would be with any number of epochs; type "
            "trainer.patience=null to go on, or a larger one"
        )
    taken = checkpoint or run.checkpoints.last()
    if taken is None:
        raise CheckpointError(
            f"trainer.resume={run.path}: it has no checkpoint from which it could be prolonged; "
            "begin a new run with its weights (model.weights=RUN), or train it anew"
        )
    _check_taken(run, taken, saved, facts)
    check_length(saved["trainer"]["epochs"], int(read_meta(taken)["step"]))
    return replace(_make(config), parent=taken, prolongs=True)


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
        raise shortage(error) or CheckpointError(
            f"cannot write {directory.path}: {error.strerror}\nLet this process write there; or "
            "copy the run and resume the copy."
        ) from error
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
    except BaseException as error:
        lock.release()
        if isinstance(error, OSError):
            raise CheckpointError(f"cannot write {directory.path}: {error}") from error
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
