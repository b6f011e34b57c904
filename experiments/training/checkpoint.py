"""Checkpoints that are whole or absent: written under a temporary name, hashed, renamed.

    checkpoints/step-00000120/
        model.safetensors   weights and buffers
        ema.safetensors     their moving average, if the run keeps one
        state.pt            optimizer, scheduler, loss scaler, progress (tensors and plain values)
        checkpoint.json     format, step, size and SHA-256 of each file, the run's config

Loading verifies sizes and hashes first and never unpickles objects (safetensors, weights_only).
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import pickle
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from experiments.errors import CheckpointError
from experiments.files import atomic_path, sync_directory, write_json

FORMAT = 1
META = "checkpoint.json"


@dataclass
class Checkpoint:
    """Everything a run needs to go on as if it had never stopped."""

    model: dict[str, Tensor]
    state: dict[str, Any]
    ema: dict[str, Tensor] | None = None
    config: dict[str, Any] = field(default_factory=dict)


class CheckpointStore:
    """The `checkpoints` folder of one run."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def steps(self) -> list[int]:
        """Steps of the complete checkpoints, ascending."""
        found = (p.name.removeprefix("step-") for p in self.root.glob("step-*") if p.is_dir())
        return sorted(int(text) for text in found if text.isdigit())

    def path(self, step: int) -> Path:
        return self.root / f"step-{step:08d}"

    def last(self) -> Path | None:
        steps = self.steps()
        return self.path(steps[-1]) if steps else None

    def write(self, step: int, checkpoint: Checkpoint, keep_last: int) -> Path:
        """Write one checkpoint, then remove all but the newest keep_last.

        Raises OSError (a full disk, say); then no part of the new checkpoint is left and the
        earlier ones are untouched.
        """
        target, temporary = self.path(step), self.root / f".tmp-step-{step:08d}"
        self.root.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(temporary, ignore_errors=True)
        try:
            temporary.mkdir()
            self._write_files(temporary, step, checkpoint)
            if target.exists():  # the same step again, after a resume from an earlier one
                shutil.rmtree(target)
            os.replace(temporary, target)
            sync_directory(self.root)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        for old in self.steps()[:-keep_last]:
            shutil.rmtree(self.path(old), ignore_errors=True)
        return target

    def _write_files(self, folder: Path, step: int, checkpoint: Checkpoint) -> None:
        save_tensors(folder / "model.safetensors", checkpoint.model)
        if checkpoint.ema is not None:
            save_tensors(folder / "ema.safetensors", checkpoint.ema)
        state = io.BytesIO()  # torch.save hides the system's errors, a full disk for one
        torch.save(checkpoint.state, state)
        with atomic_path(folder / "state.pt") as file:
            file.write_bytes(state.getbuffer())
        files = {
            p.name: {"bytes": p.stat().st_size, "sha256": sha256_of(p)}
            for p in sorted(folder.iterdir())
        }
        meta = {"format": FORMAT, "step": step, "files": files, "config": checkpoint.config}
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
            meta = verify(path)
            model = load_file(path / "model.safetensors")
            has_ema = "ema.safetensors" in meta["files"]
            ema = load_file(path / "ema.safetensors") if has_ema else None
            state = torch.load(path / "state.pt", map_location="cpu", weights_only=True)
        except (CheckpointError, SafetensorError, pickle.UnpicklingError, RuntimeError) as error:
            raise CheckpointError(f"{error}\n{self._way_on(path)}") from error
        return Checkpoint(model, state, ema, meta["config"])

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


def verify(path: Path) -> dict[str, Any]:
    """Return the checkpoint's metadata after checking every file's size and hash."""
    try:
        meta = json.loads((path / META).read_text())
        files: Mapping[str, Any] = meta["files"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{path} is not a checkpoint: {META} is missing or unreadable."
        ) from error
    if meta.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} has checkpoint format {meta.get('format')!r}; this version "
            f"reads format {FORMAT}."
        )
    for name, expected in files.items():
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
    return dict(meta)


def save_tensors(path: Path, tensors: Mapping[str, Tensor], note: str | None = None) -> None:
    """Write a safetensors file under a temporary name, flush it to disk and rename it.

    The note is one entry of the file's metadata: several would be written in random order.
    """
    contiguous = {name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}
    metadata = {"note": note} if note else None
    with atomic_path(path) as temporary:
        try:
            save_file(contiguous, temporary, metadata=metadata)
            temporary.chmod(0o644)  # it makes the file private, unlike every other of a run
        except SafetensorError as error:  # it wraps the system's error, a full disk for one
            raise OSError(
                errno.ENOSPC if "os error 28" in str(error) else errno.EIO,
                f"cannot write {path}: {error}",
            ) from error


def load_weights(module: nn.Module, tensors: Mapping[str, Tensor], source: Path | str) -> None:
    """load_state_dict with an error that names the tensors that do not fit.

    Raises CheckpointError: missing or unexpected names, or another shape (both are given).
    """
    own = module.state_dict()
    missing = sorted(own.keys() - tensors.keys())
    unexpected = sorted(tensors.keys() - own.keys())
    shapes = [
        f"{k}: {tuple(tensors[k].shape)} in the file, {tuple(own[k].shape)} in the model"
        for k in own.keys() & tensors.keys()
        if tensors[k].shape != own[k].shape
    ]
    problems = [f"missing: {', '.join(missing[:5])}"] if missing else []
    problems += [f"unexpected: {', '.join(unexpected[:5])}"] if unexpected else []
    problems += sorted(shapes)[:5]
    if problems:
        raise CheckpointError(
            f"{source} does not belong to this model:\n  "
            + "\n  ".join(problems)
            + "\nGive the model and options that wrote it."
        )
    module.load_state_dict(dict(tensors))


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's content."""
    with open(path, "rb") as file:
        digest = hashlib.sha256()
        while chunk := file.read(1 << 20):
            digest.update(chunk)
        return digest.hexdigest()


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file. Raises CheckpointError: it is absent or damaged."""
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"cannot read {path}: {error}") from error
