"""What run directories say of their runs, finished or not, whole or damaged."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.config.resume import FREE, complete, flatten, policy
from experiments.errors import UserError
from experiments.files import LOCK, lock_is_held, read_mapping, read_rows
from experiments.tasks.rows import TASKS, Figure


@dataclass
class Run:
    """What a run directory says of a run; `status` names what it lacks."""

    path: Path
    config: dict[str, Any]
    manifest: dict[str, Any]
    status: str
    validation: dict[str, Any] | None  # the row of the best epoch
    test: dict[str, Any]  # figures of the test split; empty without a test
    columns: tuple[Figure, ...]  # the figures of its task that a report shows

    @property
    def told_status(self) -> str:
        """The status, and why training ended where it was not for its last epoch."""
        ended = self.manifest.get("ended")
        if self.status != "finished" or not isinstance(ended, dict):
            return self.status
        early = ended.get("reason") == "patience"
        return f"finished (patience, epoch {ended.get('epoch')})" if early else self.status

    @property
    def settings(self) -> dict[str, Any]:
        """The config's keys that a result may depend on, flattened, without the seed."""
        leaves = flatten(self.config)
        return {k: value for k, value in leaves if k != "seed" and policy(k) != FREE}


def find_runs(paths: Sequence[str | Path]) -> list[Path]:
    """Run directories among paths and below them, each once, in order.

    Raises:
        UserError: a path is no directory; no run directory was found.
    """
    found: dict[Path, None] = {}
    for path in map(Path, paths):
        if not path.is_dir():
            raise UserError(f"{path}: no such directory; give run directories or folders of them")
        for directory, children, files in os.walk(path):
            children.sort()
            children[:] = [child for child in children if not child.startswith(".")]
            if {"config.yaml", "manifest.json"} & set(files):
                found[Path(directory).resolve()] = None
                children.clear()
    if not found:
        given = ", ".join(map(str, paths))
        raise UserError(
            f"no run found in {given}: a run directory holds config.yaml and manifest.json; "
            "give the folder that was printed as 'run directory', or the one it lies in"
        )
    return list(found)


def read_run(path: Path) -> Run:
    """Read a run directory, finished or not; what cannot be read is named in the status."""
    config, config_problem = _read(path / "config.yaml")
    try:
        config = complete(config) if config else {}
    except ValueError as error:
        config, config_problem = {}, f"config.yaml: {error}"
    manifest, manifest_problem = _read(path / "manifest.json")
    test, test_problem = _read(path / "test.json") if (path / "test.json").exists() else ({}, "")
    if not test_problem and not _is_own(path / "test.json", manifest):
        test, test_problem = {}, "test.json is not what the run wrote"
    problems = [text for text in (config_problem, manifest_problem, test_problem) if text]
    state = str(manifest.get("status", "?"))
    if state == "running" and lock_is_held(path / LOCK) is False:
        state = "killed"  # nobody trains here, and nobody has written how it ended
    status = f"broken ({'; '.join(problems)})" if problems else state
    metrics = test.get("metrics")
    figures = metrics if isinstance(metrics, dict) else {}
    columns, monitor = _figures(config, manifest)
    best = None if monitor is None else best_validation(path, monitor)
    return Run(path, config, manifest, status, best, figures, columns)


def _is_own(test: Path, manifest: dict[str, Any]) -> bool:
    """Whether test.json has the hash that the manifest tells, if it tells one."""
    sha256 = manifest.get("test_sha256")
    if sha256 is None or not test.exists():
        return True
    return hashlib.sha256(test.read_bytes()).hexdigest() == sha256


def best_validation(path: Path, monitor: Figure) -> dict[str, Any] | None:
    """The validation row with the best figure, the earliest of equals."""
    rows = [row for row in read_rows(path / "metrics.jsonl") if row.get("split") == "validation"]
    usable = [row for row in rows if number(row, monitor.name) is not None]
    sign = 1 if monitor.maximise else -1
    return max(usable, key=lambda row: sign * row[monitor.name], default=None)


def _figures(
    config: dict[str, Any], manifest: dict[str, Any]
) -> tuple[tuple[Figure, ...], Figure | None]:
    """The figures that a report shows of a run, and the one that selects its best weights.

    The manifest tells them, so that a report needs no script that registers a task. Those of older
    runs do not: then the row of the task does.
    """
    try:
        told = manifest["report"]
        figures = [Figure(**figure) for figure in (*told["columns"], told["monitor"])]
        if not all(isinstance(text, str) for f in figures for text in (f.name, f.heading)):
            raise TypeError("a name that is no text")
        return tuple(figures[:-1]), figures[-1]
    except (KeyError, TypeError):
        keys = dict(flatten(config))
        row = TASKS.get(str(keys.get("task.name")))
        if row is None:
            return (), None
        monitor = str(keys.get("trainer.monitor") or row.monitors[0].name)
        return row.columns, next((f for f in row.monitors if f.name == monitor), None)


def _read(path: Path) -> tuple[dict[str, Any], str]:
    """(the mapping in a YAML or JSON file, "") or ({}, what is wrong with it)."""
    try:
        return read_mapping(path), ""
    except FileNotFoundError:
        return {}, f"no {path.name}"
    except (OSError, ValueError):
        return {}, f"{path.name} is unreadable"


def number(values: dict[str, Any], key: str) -> float | None:
    """The finite number under key, or None."""
    value = values.get(key)
    try:
        return value if isinstance(value, (int, float)) and math.isfinite(value) else None
    except OverflowError:  # an integer beyond all floats
        return None
