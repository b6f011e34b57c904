"""One table over several runs: python -m experiments.report RUN_DIR... [--format markdown]

Runs whose configs differ only in the seed (and in keys that change no result) share a row. Beside a
KAN stands its plain twin of equal size (`model.match`), and below the table where the KAN loses.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import statistics
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from experiments.config.resume import default_leaves, flatten
from experiments.errors import UserError, in_words, shortage
from experiments.files import atomic_path
from experiments.reporting.read import Run, find_runs, number, read_run
from experiments.reporting.twins import find_twins, learns_functions, tell
from experiments.tasks.rows import Figure

# column of the CSV -> (heading, how a value is written in text and markdown)
Columns = dict[str, tuple[str, str]]
BEFORE: Columns = {
    "model": ("model", "{}"),
    "data": ("data", "{}"),
    "settings": ("settings", "{}"),
    "seeds": ("seeds", "{}"),
    "parameters": ("params", "SI"),
    "macs": ("MACs", "SI"),
    "step_ms": ("step ms", "{:.1f}"),
    "images_per_second": ("images/s", "{:,.0f}"),
    "peak_memory_mib": ("peak MiB", "{:,.0f}"),
}
AFTER: Columns = {"best_epoch": ("best epoch", "{}"), "status": ("status", "{}")}
MIN_WIDTH = 130  # characters; below it the text table would lose columns
TWIN_WIDTH = 36  # what the columns of twins add
MAY_LACK = ("settings", "twin_test", "twin_difference")  # columns that are left out if empty
LONGEST = 24  # characters of a value in the settings
ROW_NAMES = ("model.name", "data.name", "task.name")
Row = dict[str, Any]


# --------------------------------------------------------------------------------------- summing up
def summarize(runs: Sequence[Run]) -> list[Row]:
    """One row per config, in the order of the runs.

    A seed that was run several times counts once, with its finished run or else its newest; the
    status tells of every run, also of an end by patience. Figures are means over seeds, the
    standard deviation the sample's (n - 1). Time and memory are left empty where the seeds ran on
    unequal hardware.
    """
    return summarize_with_twins(runs)[0]


def summarize_with_twins(runs: Sequence[Run]) -> tuple[list[Row], list[str]]:
    """The rows, and what is to be said of KANs and their twins below them."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        key = json.dumps(run.settings, sort_keys=True, default=str) if run.config else str(run.path)
        groups.setdefault(key, []).append(run)
    found = list(groups.values())
    rows = [_row(group, _peculiar(group, found)) for group in found]
    seeds = [_one_per_seed(group) for group in found]
    twins = find_twins(seeds)
    kans = [learns_functions(group[0]) for group in seeds]
    for row, twin, is_kan in zip(rows, twins, kans, strict=True):
        if is_kan:
            row |= {"twin": "none"} if twin is None else twin.columns()
    return rows, tell(rows, twins, sum(kans))


def _row(group: list[Run], settings: str) -> Row:
    runs, first = _one_per_seed(group), group[0]
    config = dict(flatten(first.config))
    places = {str((run.manifest.get("device"), run.manifest.get("processes"))) for run in runs}
    manifests = [run.manifest for run in runs]
    equal = manifests if len(places) == 1 else []
    best = [run.validation for run in runs if run.validation]
    statuses = Counter(run.told_status for run in group).items()
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
        **_figures(first.columns, best, [run.test for run in runs]),
        "best_epoch": _span(_numbers(best, "epoch")),
        "status": ", ".join(f"{n} {text}" if len(group) > 1 else text for text, n in statuses),
    }


def _figures(
    columns: Sequence[Figure], validation: list[dict[str, Any]], test: list[dict[str, Any]]
) -> Row:
    row: Row = {}
    for figure in columns:
        found = _numbers(test, figure.name)
        row[f"validation_{figure.name}"] = _mean(_numbers(validation, figure.name))
        row[f"test_{figure.name}"] = _mean(found)
        row[f"test_{figure.name}_std"] = statistics.stdev(found) if len(found) > 1 else None
    return row


def columns_of(runs: Sequence[Run]) -> Columns:
    """The columns of a table over runs: what all have, the figures of their tasks, and twins."""
    columns = dict(BEFORE)
    for figure in dict.fromkeys(figure for run in runs for figure in run.columns):
        heading, form = _heading(figure)
        columns[f"validation_{figure.name}"] = (f"valid. {heading}", form)
        columns[f"test_{figure.name}"] = (f"test {heading}", form)
        columns[f"test_{figure.name}_std"] = ("std", form)
    first = next((run.columns[0] for run in runs if run.columns), None)
    if first is not None and any(map(learns_functions, runs)):
        heading, form = _heading(first)
        columns |= {
            "twin": ("twin", "{}"),
            "twin_seeds": ("twin seeds", "{}"),
            "twin_test": (f"twin {heading}", form),
            "twin_test_std": ("std", form),
            "twin_difference": ("difference", form.replace(":", ":+")),
            "twin_difference_std": ("std", form),
            "twin_verdict": ("verdict", "{}"),
        }
    return columns | AFTER


def _heading(figure: Figure) -> tuple[str, str]:
    heading = figure.heading or figure.name
    return (f"{heading}%", "{:.2%}") if figure.percent else (heading, "{:.4f}")


def _one_per_seed(group: list[Run]) -> list[Run]:
    def rank(run: Run) -> tuple[bool, str]:
        return run.status == "finished", str(run.manifest.get("started"))

    return list({str(run.config.get("seed")): run for run in sorted(group, key=rank)}.values())


def _peculiar(group: list[Run], groups: list[list[Run]]) -> str:
    """The settings that tell the group from others of the same model and data, in short.

    Of the values that differ only those that are no defaults are told.
    """
    own, others = group[0].settings, [other[0].settings for other in groups]
    twins = [s for s in others if all(s.get(k) == own.get(k) for k in ROW_NAMES)]
    differing = [key for key in sorted(own) if any(s.get(key) != own[key] for s in twins)]
    defaults = default_leaves(group[0].config)
    told = [key for key in differing if key not in defaults or defaults[key] != own[key]]
    return " ".join(f"{_short_key(key, own)}={_short_value(own[key])}" for key in told)


def _short_key(key: str, settings: Mapping[str, Any]) -> str:
    """The last part of a key where no other key has it, and the group for a choice in it."""
    group, _, leaf = key.rpartition(".")
    if leaf == "name":
        return group
    same = [other for other in settings if other.rpartition(".")[2] == leaf]
    return leaf if len(same) == 1 else key


def _short_value(value: Any) -> str:
    """Numbers without idle digits, lists without spaces, of a path the end."""
    if isinstance(value, (list, tuple)):
        return f"[{','.join(map(_short_value, value))}]"
    if isinstance(value, float):
        return f"{value:.4g}"
    text = str(value)
    return text if len(text) <= LONGEST else f"\N{HORIZONTAL ELLIPSIS}{text[1 - LONGEST :]}"


def _numbers(sources: Sequence[dict[str, Any]], key: str) -> list[float]:
    return [value for source in sources if (value := number(source, key)) is not None]


def _mean(values: Sequence[float], scale: float = 1) -> float | None:
    return statistics.fmean(values) * scale if values else None


def _span(values: Sequence[float]) -> str | None:
    return "-".join(map(str, sorted({min(values), max(values)}))) if values else None


# ----------------------------------------------------------------------------------------- writing
def render(rows: list[Row], columns: Columns, form: str, width: int = MIN_WIDTH) -> str:
    """The table as text of that width at most, csv (fractions and all digits) or markdown."""
    buffer = io.StringIO()
    if form == "csv":
        writer = csv.DictWriter(buffer, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return buffer.getvalue()
    headings, cells = _cells(rows, columns)
    if form == "markdown":
        lines = [headings, ["---"] * len(headings), *cells]
        return "".join(f"| {' | '.join(c.replace('|', '/') for c in line)} |\n" for line in lines)
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for heading in headings:
        words = heading in ("model", "data", "settings", "status", "twin")
        align: Any = "left" if words else "right"  # only words are broken where it gets narrow
        table.add_column(
            heading.replace(" ", "\n"),
            justify=align,
            overflow="fold",
            no_wrap=not words,
            min_width=6,
        )
    for line in cells:
        table.add_row(*line)
    Console(file=buffer, width=width, markup=False, emoji=False).print(table)
    return buffer.getvalue()


def _cells(rows: list[Row], columns: Columns) -> tuple[list[str], list[list[str]]]:
    """Headings and cells for people: percent, mean ± std in one cell, no empty columns that may be.

    What the lines below a table say of twins is left out.
    """
    empty = {key for key in MAY_LACK if not any(row.get(key) for row in rows)}
    said = {"twin_seeds", "twin_verdict"}
    keys = [key for key in columns if key not in empty | said and not key.endswith("_std")]
    cells = []
    for row in rows:
        line = {key: _text(columns[key][1], row.get(key)) for key in keys}
        for key in keys:
            if row.get(f"{key}_std") is not None:
                line[key] += f" ± {_text(columns[f'{key}_std'][1], row[f'{key}_std'])}"
        cells.append(list(line.values()))
    return [columns[key][0] for key in keys], cells


def _text(form: str, value: Any) -> str:
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
        with in_words():
            return _show(options)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _show(options: argparse.Namespace) -> int:
    runs = [read_run(path) for path in find_runs(options.runs)]
    rows, lines = summarize_with_twins(runs)
    width = max(Console().width, MIN_WIDTH + (TWIN_WIDTH if lines else 0))
    text = render(rows, columns_of(runs), options.format, width)
    if lines and options.format != "csv":  # whose verdict column says it
        text += "\n" + "".join(f"- {line}\n" for line in lines)
    if options.output is None:
        print(text, end="")
        return 0
    if not options.output.parent.is_dir():
        raise UserError(f"--output {options.output}: its folder does not exist; create it")
    try:
        with atomic_path(options.output) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except OSError as error:
        raise shortage(error) or UserError(
            f"--output {options.output}: {error.strerror}; give another file"
        ) from error
    return 0
