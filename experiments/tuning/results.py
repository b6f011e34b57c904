"""What came of a search: trials.csv, the best setting as a command, the table at the end."""

from __future__ import annotations

import csv
import io
import os
import shlex
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from experiments.files import atomic_path
from experiments.tuning.config import TuneConfig
from experiments.tuning.directory import Record
from experiments.tuning.journal import Journal
from experiments.tuning.process import entry_command
from experiments.tuning.request import Goals

SHOWN = 10


def write_table(journal: Journal, keys: Sequence[str]) -> Path:
    """Write trials.csv: a row for each trial, all digits."""
    names = [figure.name for figure in journal.goals.objectives]
    columns = ["trial", "status", *keys, *names, "best_epoch", "epochs", "seconds", "run",
               "message"]  # fmt: skip
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, lineterminator="\n")
    writer.writeheader()
    for record in journal.records.values():
        row: dict[str, Any] = {key: record.values.get(key, "") for key in keys}
        row |= {name: record.figures.get(name) for name in names}
        writer.writerow(row | {
            "trial": record.number, "status": record.status, "best_epoch": record.best_epoch,
            "epochs": record.epochs, "seconds": round(record.seconds, 3), "run": record.run,
            "message": record.message,
        })  # fmt: skip
    with atomic_path(journal.search.table) as file:
        file.write_text(buffer.getvalue(), encoding="utf-8")
    return journal.search.table


def front(records: Sequence[Record], goals: Goals) -> list[Record]:
    """The trials that no other one beats in every objective, by the first of them."""
    signs = [1 if figure.maximise else -1 for figure in goals.objectives]
    names = [figure.name for figure in goals.objectives]
    complete = [r for r in records if all(r.figures.get(name) is not None for name in names)]

    def score(record: Record) -> list[float]:
        return [s * float(record.figures[n] or 0) for s, n in zip(signs, names, strict=True)]

    def beaten(one: Record) -> bool:
        mine = score(one)
        others = [score(other) for other in complete if other is not one]
        return any(all(a >= b for a, b in zip(o, mine, strict=True)) and o != mine for o in others)

    return sorted((r for r in complete if not beaten(r)), key=score, reverse=True)


def command_of(
    script: str,
    values: dict[str, str],
    common: Sequence[str],
    processes: int = 1,
    gpus: float = 0.0,
) -> str:
    """The command line that runs a setting again, on as many processes."""
    path = os.path.relpath(script)
    start = entry_command(path if not path.startswith("..") else script, processes, gpus)
    return shlex.join(["python", *start[1:], *(f"{k}={v}" for k, v in values.items()), *common])


def print_results(journal: Journal, console: Console, script: str, settings: TuneConfig) -> bool:
    """Say what came of it; whether there is a best trial."""
    counts = Counter(record.status for record in journal.records.values())
    told = ", ".join(f"{n} {status}" for status, n in counts.most_common())
    console.print(f"{len(journal.records)} trials: {told}", highlight=False)
    best, goals = journal.best_first(), journal.goals
    for record in journal.records.values():
        if record.message:
            first = record.message.splitlines()[0]
            console.print(f"{record.name} {record.status}: {first}", highlight=False)
    if not best:
        return False
    several = goals.one is None
    shown = front(best, goals) if several else best[:SHOWN]
    title = "Pareto front" if several else f"the best of {len(best)} trials"
    console.print(_table(title, shown, goals))
    for record in shown if several else best[:1]:
        if settings.scheduler == "pbt":
            way = f"python tune.py --replay {journal.search.path}"
        else:
            devices = settings.processes, settings.gpus
            way = command_of(script, record.values, journal.composer.common, *devices)
        lead = record.name if several else "best"
        console.print(f"{lead}: {way}", soft_wrap=True, highlight=False)
    return True


def _table(title: str, records: Sequence[Record], goals: Goals) -> Table:
    table = Table(title=title, title_justify="left")
    for heading in ("trial", *(f.name for f in goals.objectives), "best epoch"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("values", overflow="fold")
    for record in records:
        figures = [goals.show(figure, record.figures[figure.name]) for figure in goals.objectives]
        values = " ".join(f"{key}={text}" for key, text in record.values.items())
        table.add_row(str(record.number), *figures, str(record.best_epoch), values)
    return table
