"""Tensors as safetensors files, which say what they are: written whole, read with their hash."""

from __future__ import annotations

import errno
import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save, save_file
from torch import Tensor, nn

from experiments.errors import CheckpointError, reason, shortage
from experiments.files import atomic_path


def pack_tensors(tensors: Mapping[str, Tensor], note: str) -> bytes:
    """The content of a safetensors file.

    The note is one entry of the file's metadata: several would be written in random order.
    """
    return save(_on_cpu(tensors), metadata={"note": note})


def _on_cpu(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}


def save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write a safetensors file under a temporary name, flush it to disk and rename it."""
    with atomic_path(path) as temporary:
        try:
            save_file(_on_cpu(tensors), temporary)
            temporary.chmod(0o644)  # it makes the file private, unlike every other of a run
        except SafetensorError as error:  # it wraps the system's error, a full disk for one
            number = re.search(r"os error (\d+)", str(error))
            raise OSError(int(number[1]) if number else errno.EIO, str(error)) from error


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


def note_in(path: Path) -> str:
    """What a safetensors file says of itself (see pack_tensors); "" if nothing.

    Raises: CheckpointError: it is absent, or damaged.
    """
    try:
        with safe_open(path, "pt") as file:
            return str((file.metadata() or {}).get("note", ""))
    except (OSError, SafetensorError) as error:
        raise shortage(error) or CheckpointError(f"cannot read {path}: {reason(error)}") from error


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's content."""
    with open(path, "rb") as file:
        digest = hashlib.sha256()
        while chunk := file.read(1 << 20):
            digest.update(chunk)
        return digest.hexdigest()


def read_tensors(path: Path, sha256: str | None = None) -> dict[str, Tensor]:
    """Read a safetensors file. Raises CheckpointError: it is absent, damaged, or not the one whose
    SHA-256 is given."""
    try:
        content = path.read_bytes()
        if sha256 and hashlib.sha256(content).hexdigest() != sha256:
            raise CheckpointError(f"{path} has changed since this run wrote it")
        return load(content)
    except (OSError, SafetensorError) as error:
        raise shortage(error) or CheckpointError(f"cannot read {path}: {reason(error)}") from error
