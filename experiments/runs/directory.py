"""The folder of one run: where its files lie, how it is found again and taken up.

runs/<name>/<time>-seed<seed>/
    config.yaml manifest.json metrics.jsonl timing.jsonl curves.png best.safetensors test.json
    checkpoints/step-00000120/... and the pictures of the task
"""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from experiments.config.resume import RECORDED, REFUSED, differences, policy
from experiments.errors import CheckpointError
from experiments.training.checkpoint import CheckpointStore

Changes = dict[str, tuple[Any, Any]]  # {dotted key: (value of the saved config, value now)}


class RunDirectory:
    """Paths of one run directory."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self.config = self.path / "config.yaml"
        self.manifest = self.path / "manifest.json"
        self.metrics = self.path / "metrics.jsonl"
        self.timing = self.path / "timing.jsonl"
        self.curves = self.path / "curves.png"
        self.best = self.path / "best.safetensors"
        self.test = self.path / "test.json"
        self.checkpoints = CheckpointStore(self.path / "checkpoints")

    def picture(self, name: str) -> Path:
        """Where the picture of that name lies."""
        return self.path / f"{name}.png"

    def read_manifest(self) -> dict[str, Any]:
        """The manifest; empty if there is none that can be read."""
        try:
            manifest = json.loads(self.manifest.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return manifest if isinstance(manifest, dict) else {}

    def status(self) -> str:
        """running, interrupted, failed or finished as the manifest says; 'absent' without one."""
        return str(self.read_manifest().get("status", "absent"))


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
        changed = differences(read_config(file), config)
        if not any(policy(key) == REFUSED for key in changed):
            return run.path
    return None


def read_config(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise CheckpointError(f"cannot read {path}: {error}") from error
    return values if isinstance(values, dict) else {}


def resolve_checkpoint(key: str, text: str) -> tuple[Path, Path | None]:
    """Split key=PATH into (run directory, checkpoint or None for the last one).

    Raises CheckpointError: the path does not exist or is neither a run directory nor a checkpoint.
    """
    path = Path(text).expanduser().resolve()
    if path.parent.name == "checkpoints" and path.is_dir():
        return path.parent.parent, path
    if (path / "config.yaml").is_file():
        return path, None
    what = "is no run directory (it has no config.yaml)" if path.exists() else "does not exist"
    newest = ", or trainer.resume=auto for the newest unfinished run" if "resume" in key else ""
    raise CheckpointError(
        f"{key}={text}: {path} {what}. Give a run directory, one of its checkpoints/step-... "
        f"folders{newest}."
    )


def find_parent(text: str) -> Path:
    """The checkpoint that trainer.start_from names: that of a run, or its last one.

    Raises CheckpointError: there is none.
    """
    path, checkpoint = resolve_checkpoint("trainer.start_from", text)
    found = checkpoint or RunDirectory(path).checkpoints.last()
    if found is None:
        raise CheckpointError(
            f"trainer.start_from={text}: {path} has no checkpoint; give a run that has one"
        )
    return found


def require_same(saved: dict[str, Any], current: dict[str, Any], path: Path) -> Changes:
    """What this continuation of a run changes that must be recorded.

    Raises CheckpointError that lists what may not change, unless nothing of that does.
    """
    changes = differences(saved, current)
    refused = [
        f"{key}: {old!r} -> {new!r}"
        for key, (old, new) in changes.items()
        if policy(key) == REFUSED
    ]
    if refused:
        raise CheckpointError(
            f"{path} belongs to a run with another config, so it cannot be continued exactly:\n  "
            + "\n  ".join(refused)
            + "\nGive the values of the saved run, or start a new run without trainer.resume."
        )
    return {key: values for key, values in changes.items() if policy(key) == RECORDED}
