"""One table over several runs: python -m experiments.report RUN_DIR... [--format markdown]

Runs whose configs differ only in the seed (and in keys that change no result) share a row.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import math
import os
import statistics
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from experiments.errors import UserError
from experiments.files import atomic_path
from experiments.reporting.plots import read_rows
from experiments.runs.directory import FREE_KEYS, flatten

# column of the CSV -> (heading, how a value is written in text and markdown)
COLUMNS: dict[str, tuple[str, str]] = {
    "model": ("model", "{}"),
    "data": ("data", "{}"),
    "settings": ("settings", "{}"),
    "seeds": ("seeds", "{}"),
    "parameters": ("params", "SI"),
    "macs": ("MACs", "SI"),
    "step_ms": ("step ms", "{:.1f}"),
    "images_per_second": ("images/s", "{:,.0f}"),
    "peak_memory_mib": ("peak MiB", "{:,.0f}"),
    "validation_accuracy": ("valid. acc.%", "{:.2%}"),
    "test_accuracy": ("test acc.%", "{:.2%}"),
    "test_accuracy_std": ("std", "{:.2%}"),
    "best_epoch": ("best epoch", "{}"),
    "status": ("status", "{}"),
}
MIN_WIDTH = 130  # characters; below it the text table would lose columns
ROW_NAMES = ("model.name", "data.name")
Row = dict[str, Any]


# ----------------------------------------------------------------------------------------- reading
@dataclass
class Run:
    """What a run directory says of a run; `status` names what it lacks."""

    path: Path
    config: dict[str, Any]
    manifest: dict[str, Any]
    status: str
    validation: dict[str, Any] | None  # the row of the best epoch
    test_accuracy: float | None

    @property
    def settings(self) -> dict[str, Any]:
        """The config's keys that a result may depend on, flattened, without the seed."""
        free = FREE_KEYS | {"seed"}
        leaves = flatten(self.config)
        return {k: value for k, value in leaves if not {k, k.partition(".")[0]} & free}


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
    manifest, manifest_problem = _read(path / "manifest.json")
    test, test_problem = _read(path / "test.json") if (path / "test.json").exists() else ({}, "")
    problems = [text for text in (config_problem, manifest_problem, test_problem) if text]
    status = f"broken ({'; '.join(problems)})" if problems else str(manifest.get("status", "?"))
    metrics = test.get("metrics")
    accuracy = _number(metrics, "accuracy") if isinstance(metrics, dict) else None
    return Run(path, config, manifest, status, best_validation(path, config), accuracy)


def best_validation(path: Path, config: dict[str, Any]) -> dict[str, Any] | None:
    """The validation row with the best trainer.monitor, the earliest of equals."""
    monitor = dict(flatten(config)).get("trainer.monitor", "accuracy")
    rows = [row for row in read_rows(path / "metrics.jsonl") if row.get("split") == "validation"]
    usable = [row for row in rows if _number(row, monitor) is not None]
    sign = -1 if monitor == "loss" else 1
    return max(usable, key=lambda row: sign * row[monitor], default=None)


def _read(path: Path) -> tuple[dict[str, Any], str]:
    """(the mapping in a YAML or JSON file, "") or ({}, what is wrong with it)."""
    try:
        text = path.read_text(encoding="utf-8")
        value = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except FileNotFoundError:
        return {}, f"no {path.name}"
    except (OSError, ValueError, yaml.YAMLError):
        return {}, f"{path.name} is unreadable"
    return (value, "") if isinstance(value, dict) else ({}, f"{path.name} is unreadable")


def _number(values: dict[str, Any], key: str) -> float | None:
    value = values.get(key)
    return value if isinstance(value, (int, float)) and math.isfinite(value) else None


# --------------------------------------------------------------------------------------- summing up
def summarize(runs: Sequence[Run]) -> list[Row]:
    """One row per config, in the order of the runs.

    A seed that was run several times counts once, with its finished run or else its newest; the
    status tells of every run. Figures are means over seeds, the standard deviation the sample's
    (n - 1). Time and memory are left empty where the seeds ran on unequal hardware.
    """
    groups: dict[str, list[Run]] = {}
    for run in runs:
        key = json.dumps(run.settings, sort_keys=True, default=str) if run.config else str(run.path)
        groups.setdefault(key, []).append(run)
    return [_row(group, _peculiar(group, list(groups.values()))) for group in groups.values()]


def _row(group: list[Run], settings: str) -> Row:
    runs, first = _one_per_seed(group), group[0]
    config = dict(flatten(first.config))
    places = {(run.manifest.get("device"), run.manifest.get("processes")) for run in runs}
    manifests = [run.manifest for run in runs]
    equal = manifests if len(places) == 1 else []
    accuracies = [run.test_accuracy for run in runs if run.test_accuracy is not None]
    best = [run.validation for run in runs if run.validation]
    statuses = Counter(run.status for run in group).items()
    return {
        "model": config.get("model.name", first.path.name),
        "data": config.get("data.name"),
        "settings": settings,
        "seeds": len(runs),
        "parameters": next(iter(_numbers(manifests, "parameters")), None),
        "macs": next(iter(_numbers(manifests, "macs")), None),
        "step_ms": _mean(_numbers(equal, "step_seconds"), 1e3),
        "images_per_second": _mean(_numbers(equal, "images_per_second")),
        "peak_memory_mib": _mean(_numbers(equal, "peak_memory_bytes"), 2**-20),
        "validation_accuracy": _mean(_numbers(best, "accuracy")),
        "test_accuracy": _mean(accuracies),
        "test_accuracy_std": statistics.stdev(accuracies) if len(accuracies) > 1 else None,
        "best_epoch": _span(_numbers(best, "epoch")),
        "status": ", ".join(f"{n} {text}" if len(group) > 1 else text for text, n in statuses),
    }


def _one_per_seed(group: list[Run]) -> list[Run]:
    def rank(run: Run) -> tuple[bool, str]:
        return run.status == "finished", str(run.manifest.get("started"))

    return list({run.config.get("seed"): run for run in sorted(group, key=rank)}.values())


def _peculiar(group: list[Run], groups: list[list[Run]]) -> str:
    """The settings that tell the group from others of the same model and data."""
    own, others = group[0].settings, [other[0].settings for other in groups]
    twins = [s for s in others if all(s.get(k) == own.get(k) for k in ROW_NAMES)]
    differing = [key for key in sorted(own) if any(s.get(key) != own[key] for s in twins)]
    return " ".join(f"{key}={own[key]}" for key in differing)


def _numbers(sources: Sequence[dict[str, Any]], key: str) -> list[float]:
    return [value for source in sources if (value := _number(source, key)) is not None]


def _mean(values: Sequence[float], scale: float = 1) -> float | None:
    return statistics.fmean(values) * scale if values else None


def _span(values: Sequence[float]) -> str | None:
    return "-".join(map(str, sorted({min(values), max(values)}))) if values else None


# ----------------------------------------------------------------------------------------- writing
def render(rows: list[Row], form: str, width: int = MIN_WIDTH) -> str:
    """The table as text of that width at most, csv (fractions and all digits) or markdown."""
    buffer = io.StringIO()
    if form == "csv":
        writer = csv.DictWriter(buffer, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return buffer.getvalue()
    headings, cells = _cells(rows)
    if form == "markdown":
        lines = [headings, ["---"] * len(headings), *cells]
        return "".join(f"| {' | '.join(c.replace('|', '/') for c in line)} |\n" for line in lines)
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for heading in headings:
        words = heading in ("model", "data", "settings", "status")
        align: Any = "left" if words else "right"  # only words are broken where it gets narrow
        table.add_column(
            heading.replace(" ", "\n"),
            justify=align,
            overflow="fold",
            no_wrap=not words,
            min_width=6,
        )
    for line in cells:
        table.add_row(*map(escape, line))
    Console(file=buffer, width=width).print(table)
    return buffer.getvalue()


def _cells(rows: list[Row]) -> tuple[list[str], list[list[str]]]:
    """Headings and cells for people: percent, mean ± std in one cell, no empty settings column."""
    hidden = {"test_accuracy_std"} | (set() if any(r["settings"] for r in rows) else {"settings"})
    keys = [key for key in COLUMNS if key not in hidden]
    cells = []
    for row in rows:
        line = {key: _text(key, row[key]) for key in keys}
        if row["test_accuracy_std"] is not None:
            line["test_accuracy"] += f" ± {_text('test_accuracy_std', row['test_accuracy_std'])}"
        cells.append(list(line.values()))
    return [COLUMNS[key][0] for key in keys], cells


def _text(key: str, value: Any) -> str:
    form = COLUMNS[key][1]
    if value in (None, ""):
        return "-"
    return short(value) if form == "SI" else form.format(value).rstrip("%")


def short(number: float) -> str:
    """1234567 -> '1.23M': three significant digits."""
    for suffix in ("", "k", "M", "G"):
        if number < 999.5:
            return f"{number:.3g}{suffix}"
        number /= 1000
    return f"{number:.3g}T"


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; return the exit code: 0, or 2 with a message where there is nothing to show."""
    parser = argparse.ArgumentParser(prog="python -m experiments.report", description=__doc__)
    parser.add_argument("runs", nargs="+", metavar="RUN_DIR", help="a run, or a folder of runs")
    parser.add_argument("--format", choices=("text", "csv", "markdown"), default="text")
    parser.add_argument("--output", type=Path, metavar="FILE", help="a file instead of the screen")
    options = parser.parse_args(arguments)
    try:
        rows = summarize([read_run(path) for path in find_runs(options.runs)])
        text = render(rows, options.format, max(Console().width, MIN_WIDTH))
        if options.output is None:
            print(text, end="")
            return 0
        if not options.output.parent.is_dir():
            raise UserError(f"--output {options.output}: its folder does not exist; create it")
        with atomic_path(options.output) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0
