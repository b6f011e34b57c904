"""The rows of a study: what every run was and what came out, appended to a CSV file."""

from __future__ import annotations

import csv
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.errors import DataError
from experiments.reporting.read import Run
from experiments.studies.setting import Setting
from experiments.tasks.rows import task_row

FINISHED, FAILED = "finished", "failed"
# Columns behind the labels: text, but for NUMBERS, which are empty where nothing is known. `test`
# and `validation` are of the first figure of the task: accuracy, or IoU.
MEASURED = (
    "seed", "status", "test", "validation", "parameters", "macs", "images",
    "seconds", "threads", "cpu", "torch", "commit", "time", "error", "overrides",
)  # fmt: skip
NUMBERS = {
    "seed": int, "test": float, "validation": float, "parameters": int,
    "macs": int, "images": int, "seconds": float, "threads": int,
}  # fmt: skip
Row = dict[str, Any]


def row_of(setting: Setting, run: Run | None, error: str = "") -> Row:
    """The row of a run that has ended, or of one that failed with this error."""
    row: Row = dict.fromkeys((*setting.labels, *MEASURED))
    row |= {**setting.labels, "seed": setting.seed, "status": FAILED, "error": error}
    row["overrides"] = shlex.join(setting.overrides)
    if run is None:
        return row
    manifest = run.manifest
    git = manifest.get("git") or {}
    figure = task_row(run.config["task"]["name"]).figures[0].name
    images = manifest.get("facts", {}).get("data", {}).get("images", [None])[0]
    return row | {
        "status": FAILED if error else FINISHED,
        "test": run.test.get(figure),
        "validation": (run.validation or {}).get(figure),
        "parameters": manifest.get("parameters"),
        "macs": manifest.get("macs"),
        "images": images and images * run.config["trainer"]["epochs"],
        # of a run that was taken up the manifest knows the last part alone
        "seconds": None if manifest.get("resumed") else manifest.get("wall_seconds"),
        "threads": manifest.get("threads"),
        "cpu": (manifest.get("hardware") or {}).get("cpu"),
        "torch": (manifest.get("versions") or {}).get("torch"),
        "commit": str(git.get("sha", ""))[:12] + ("+" if git.get("dirty") else ""),
        "time": manifest.get("finished"),
    }


def append(path: Path, row: Row) -> None:
    """Add a row to the file, which gets its header first.

    Raises: DataError if the file has other columns -> move it away.
    """
    read(path, list(row))
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(row), lineterminator="\n")
        if file.tell() == 0:
            writer.writeheader()
        writer.writerow({key: _text(value) for key, value in row.items()})


def read(path: Path, columns: Sequence[str] | None = None) -> list[Row]:
    """The newest row of every run, in the order in which they first came; none without a file.

    A line that was cut short by a full disk is passed over. Raises: DataError if the file has other
    columns than those.
    """
    if not path.exists():
        return []
    rows: dict[tuple[str, ...], Row] = {}
    with open(path, newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        found = list(reader.fieldnames or [])
        if (columns and found and found != list(columns)) or (found and "overrides" not in found):
            raise DataError(
                f"{path} has the columns {', '.join(found)}, but rows are made of "
                f"{', '.join(columns or MEASURED)}; move it away to begin it anew"
            )
        for line in reader:
            if None not in line.values() and None not in line:
                rows[key_of(line)] = {key: _value(key, text) for key, text in line.items()}
    return list(rows.values())


def key_of(line: Row) -> tuple[str, ...]:
    """What tells a run from others: its labels and its seed."""
    return (*(str(line[key]) for key in line if key not in MEASURED), str(line["seed"]))


def finished(rows: Sequence[Row], setting: Setting) -> Row | None:
    """The row of a setting, if it was run to its end with these very overrides."""
    wanted = row_of(setting, None)
    for row in rows:
        same = key_of(row) == key_of(wanted) and row["overrides"] == wanted["overrides"]
        if same and row["status"] == FINISHED:
            return row
    return None


def _text(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _value(key: str, text: str) -> Any:
    if key not in NUMBERS:
        return text
    return NUMBERS[key](text) if text else None
