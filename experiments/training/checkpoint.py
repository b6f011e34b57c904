"""Checkpoints that are whole or absent: written under a temporary name, hashed, renamed.

    checkpoints/step-00000120/
        model.safetensors   weights and buffers
        ema.safetensors     their moving average, if the run keeps one
        state.pt            optimizer, scheduler, loss scaler, progress (tensors and plain values)
        metrics.jsonl       the run's rows so far
        checkpoint.json     format, step, the run's id, size and SHA-256 of each file, the run's
                            config, and what it was computed with and from (facts)

Loading verifies sizes and hashes first and never unpickles objects (safetensors, weights_only).
A checkpoint of another run is none of this store's, wherever it came from.
"""

from __future__ import annotations

import io
import os
import pickle
import shutil
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from experiments.config.resume import complete
from experiments.errors import CheckpointError, reason, shortage
from experiments.files import atomic_path, read_mapping, sync_directory, write_json
from experiments.training.tensor_files import save_tensors, sha256_of

FORMAT = 1
META = "checkpoint.json"
NEEDED = ("model.safetensors", "state.pt")
UNKNOWN = "unknown"  # the id of a run whose manifest is lost: any checkpoint may be its own


@dataclass
class Checkpoint:
    """Everything a run needs to go on as if it had never stopped."""

    model: dict[str, Tensor]
    state: dict[str, Any]
    ema: dict[str, Tensor] | None = None
    config: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    metrics: bytes | None = None  # None: written by a version that kept their length alone


class CheckpointStore:
    """The `checkpoints` folder of one run, whose id (None: it began before there were ids) is run.

    Folders of other runs in it are left alone: not listed, not counted, not removed.
    """

    def __init__(self, root: Path, run: str | None = None) -> None:
        self.root, self.run = root, run

    def steps(self) -> list[int]:
        """Steps of the run's complete checkpoints, ascending."""
        return [step for step in self._all_steps() if not self.is_foreign(self.path(step))]

    def foreign(self) -> list[Path]:
        """The checkpoints of other runs."""
        paths = map(self.path, self._all_steps())
        return [path for path in paths if self.is_foreign(path)]

    def _all_steps(self) -> list[int]:
        found = (p.name.removeprefix("step-") for p in self.root.glob("step-*") if p.is_dir())
        return sorted(int(text) for text in found if text.isdigit())

    def is_foreign(self, path: Path) -> bool:
        """Whether path names another run as its writer; one that cannot be read names none."""
        if self.run == UNKNOWN:
            return False
        try:
            return bool(read_meta(path).get("run") != self.run)
        except CheckpointError:
            return False

    def path(self, step: int) -> Path:
        return self.root / f"step-{step:08d}"

    def last(self) -> Path | None:
        steps = self.steps()
        return self.path(steps[-1]) if steps else None

    def write(self, step: int, checkpoint: Checkpoint, keep_last: int) -> Path:
        """Write one checkpoint, then remove all but the newest keep_last.

        Raises OSError (a full disk, say); then no part of the new checkpoint is left and the
        earlier ones are untouched. The same step again, after a resume from an earlier one, takes
        the old one's place; see tidy for a process that is killed in between.
        """
        target, temporary = self.path(step), self.root / f".tmp-step-{step:08d}"
        aside = self._aside(target)
        self.root.mkdir(parents=True, exist_ok=True)
        self.tidy()
        try:
            temporary.mkdir()
            self._write_files(temporary, step, checkpoint)
            if target.exists():
                os.replace(target, aside)
            os.replace(temporary, target)
            sync_directory(self.root)
        finally:
            self.tidy()
        for old in self.steps()[:-keep_last]:
            self._remove(self.path(old))
        return target

    def _aside(self, path: Path) -> Path:
        return self.root / f".old-{path.name}"

    def _remove(self, path: Path) -> None:
        """Under another name first: a removal that is cut off leaves nothing that looks whole."""
        doomed = self.root / f".tmp-{path.name}"
        shutil.rmtree(doomed, ignore_errors=True)
        with suppress(OSError):  # what cannot be removed hurts nobody
            os.replace(path, doomed)
        shutil.rmtree(doomed, ignore_errors=True)

    def tidy(self) -> None:
        """Undo what a writer left that was killed, or failed: half a checkpoint is removed, and
        one that was put aside and has no successor is back in its place."""
        for half in self.root.glob(".tmp-step-*"):
            shutil.rmtree(half, ignore_errors=True)
        for old in self.root.glob(".old-step-*"):
            target = self.root / old.name.removeprefix(".old-")
            if target.exists():
                shutil.rmtree(old, ignore_errors=True)
            else:
                os.replace(old, target)

    def _write_files(self, folder: Path, step: int, checkpoint: Checkpoint) -> None:
        save_tensors(folder / "model.safetensors", checkpoint.model)
        if checkpoint.ema is not None:
            save_tensors(folder / "ema.safetensors", checkpoint.ema)
        state = io.BytesIO()  # torch.save hides the system's errors, a full disk for one
        torch.save(checkpoint.state, state)
        with atomic_path(folder / "state.pt") as file:
            file.write_bytes(state.getbuffer())
        if checkpoint.metrics is not None:
            with atomic_path(folder / "metrics.jsonl") as file:
                file.write_bytes(checkpoint.metrics)
        files = {
            p.name: {"bytes": p.stat().st_size, "sha256": sha256_of(p)}
            for p in sorted(folder.iterdir())
        }
        meta = {
            "format": FORMAT,
            "step": step,
            "run": self.run,
            "files": files,
            "config": checkpoint.config,
            "facts": checkpoint.facts,
        }
        write_json(folder / META, meta)

    def set_aside_after(self, step: int) -> None:
        """Rename checkpoints newer than `step`, so that they cannot be mistaken for the last."""
        for newer in self.steps():
            if newer > step:
                target = self.root / f"discarded-{self.path(newer).name}"
                shutil.rmtree(target, ignore_errors=True)
                os.replace(self.path(newer), target)

    def load(self, path: Path) -> Checkpoint:
        """Verify and read one checkpoint.

        Raises CheckpointError: a file is missing, truncated, altered or of another format; the
        message names the file and the newest earlier checkpoint that is whole.
        """
        try:
            if self.is_foreign(path):
                raise CheckpointError(f"{path} was written by another run than {self.root.parent}.")
            meta = verify(path)
            model = load_file(path / "model.safetensors")
            has_ema = "ema.safetensors" in meta["files"]
            ema = load_file(path / "ema.safetensors") if has_ema else None
            state = torch.load(path / "state.pt", map_location="cpu", weights_only=True)
            has_metrics = "metrics.jsonl" in meta["files"]
            metrics = (path / "metrics.jsonl").read_bytes() if has_metrics else None
        except (
            CheckpointError, OSError, SafetensorError, pickle.UnpicklingError, RuntimeError
        ) as error:  # fmt: skip
            raise shortage(error) or self.damaged(path, error) from error
        return Checkpoint(model, state, ema, meta["config"], meta.get("facts") or {}, metrics)

    def damaged(self, path: Path, error: Exception) -> CheckpointError:
        """The error, with the newest earlier checkpoint that is whole."""
        return CheckpointError(f"{error}\n{self._way_on(path)}")

    def _way_on(self, damaged: Path) -> str:
        for step in reversed(self.steps()):
            candidate = self.path(step)
            if candidate.name >= damaged.name:
                continue
            try:
                verify(candidate)
            except CheckpointError:
                continue
            return f"The previous good one is {candidate}\nContinue with trainer.resume={candidate}"
        return "No earlier checkpoint of this run is whole: start it anew without trainer.resume."


def read_meta(path: Path) -> dict[str, Any]:
    """What a checkpoint says of itself. Raises CheckpointError: it says nothing that can be read.

    Its files are not looked at.
    """
    try:
        meta = read_mapping(path / META)
        files = {name: (entry["bytes"], entry["sha256"]) for name, entry in meta["files"].items()}
        complete(meta["config"])
        facts = meta.get("facts") or {}
        well_formed = all(isinstance(value, dict) for value in (facts, *facts.values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise shortage(error) or CheckpointError(
            f"{path} is not a checkpoint: {META} is missing or unreadable ({reason(error)})."
        ) from error
    if not well_formed:
        raise CheckpointError(f"{path} is not a checkpoint: facts in {META} are no mappings.")
    if not set(NEEDED) <= set(files):
        raise CheckpointError(f"{path} is not a checkpoint: {META} lacks {' or '.join(NEEDED)}.")
    return meta


def verify(path: Path) -> dict[str, Any]:
    """Return the checkpoint's metadata after checking every file's size and hash."""
    meta = read_meta(path)
    if meta.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} has checkpoint format {meta.get('format')!r}; this version "
            f"reads format {FORMAT}."
        )
    for name, expected in meta["files"].items():
        file = path / name
        size = file.stat().st_size if file.is_file() else None
        if size is None:
            raise CheckpointError(f"{path} is damaged: {name} is missing.")
        if size != expected["bytes"]:
            raise CheckpointError(
                f"{path} is damaged: {name} has {size} of {expected['bytes']} bytes."
            )
        if sha256_of(file) != expected["sha256"]:
            raise CheckpointError(
                f"{path} is damaged: the content of {name} has changed since it was written."
            )
    return meta
