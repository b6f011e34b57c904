"""The folder of one run: where its files lie, how it is found again and taken up.

runs/<name>/<time>-seed<seed>/
    config.yaml manifest.json metrics.jsonl timing.jsonl curves.png confusion_matrix.png
    best.safetensors test.json checkpoints/step-00000120/...
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from experiments.errors import CheckpointError
from experiments.training.checkpoint import CheckpointStore

# What may differ between the run that wrote a checkpoint and the one that takes it up: it changes
# where and how fast a run proceeds, never what it computes.
FREE_KEYS = frozenset({
    "name", "runs_dir", "tracker", "data.root", "data.download", "data.workers",
    "trainer.resume", "trainer.progress", "trainer.keep_last", "trainer.checkpoint_steps",
    "trainer.evaluation_batch_size", "trainer.cpu",
})  # fmt: skip


class RunDirectory:
    """Paths of one run directory."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self.config = self.path / "config.yaml"
        self.manifest = self.path / "manifest.json"
        self.metrics = self.path / "metrics.jsonl"
        self.timing = self.path / "timing.jsonl"
        self.curves = self.path / "curves.png"
        self.confusion_matrix = self.path / "confusion_matrix.png"
        self.best = self.path / "best.safetensors"
        self.test = self.path / "test.json"
        self.checkpoints = CheckpointStore(self.path / "checkpoints")

    def status(self) -> str:
        """running, interrupted, failed or finished as the manifest says; 'absent' without one."""
        try:
            return str(json.loads(self.manifest.read_text())["status"])
        except (OSError, ValueError, KeyError):
            return "absent"


def new_path(runs_dir: str, name: str, seed: int) -> Path:
    """A path that does not exist yet; the caller creates it (on one process only)."""
    stamp = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    path = Path(runs_dir) / name / f"{stamp}-seed{seed}"
    count = 1
    while path.exists():
        count += 1
        path = path.with_name(f"{stamp}-seed{seed}-{count}")
    return path


def find_resumable(runs_dir: str, name: str, config: dict[str, Any]) -> Path | None:
    """The newest unfinished run of the same name and config that has a checkpoint, or None."""
    candidates = sorted((Path(runs_dir) / name).glob("*/config.yaml"), reverse=True)
    for file in candidates:
        run = RunDirectory(file.parent)
        if run.status() == "finished" or not run.checkpoints.steps():
            continue
        if not differences(read_config(file), config):
            return run.path
    return None


def read_config(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise CheckpointError(f"cannot read {path}: {error}") from error
    return values if isinstance(values, dict) else {}


def resolve_resume(text: str) -> tuple[Path, Path | None]:
    """Split trainer.resume=PATH into (run directory, checkpoint or None for the last one).

    Raises CheckpointError: the path does not exist or is neither a run directory nor a checkpoint.
    """
    path = Path(text).expanduser().resolve()
    if path.parent.name == "checkpoints" and path.is_dir():
        return path.parent.parent, path
    if (path / "config.yaml").is_file():
        return path, None
    what = "is no run directory (it has no config.yaml)" if path.exists() else "does not exist"
    raise CheckpointError(
        f"trainer.resume={text}: {path} {what}. Give a run directory, one of its "
        "checkpoints/step-... folders, or trainer.resume=auto for the newest unfinished run."
    )


def differences(saved: dict[str, Any], current: dict[str, Any]) -> list[str]:
    """Lines "key: saved -> current" for keys that must agree for an exact resume."""
    old, new = dict(flatten(saved)), dict(flatten(current))
    lines = []
    for key in sorted(old.keys() | new.keys()):
        free = key in FREE_KEYS or key.partition(".")[0] in FREE_KEYS
        if not free and old.get(key) != new.get(key):
            lines.append(f"{key}: {old.get(key)!r} -> {new.get(key)!r}")
    return lines


def require_same(saved: dict[str, Any], current: dict[str, Any], path: Path) -> None:
    """Raise CheckpointError that lists what differs, unless the configs agree."""
    lines = differences(saved, current)
    if lines:
        raise CheckpointError(
            f"{path} belongs to a run with another config, so it cannot be continued exactly:\n  "
            + "\n  ".join(lines)
            + "\nGive the values of the saved run, or start a new run without trainer.resume."
        )


def flatten(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the leaves of nested dicts: {"a": {"b": 1}} -> ("a.b", 1)."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
