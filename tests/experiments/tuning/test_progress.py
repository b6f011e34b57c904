"""The table on the terminal stays small, however many trials there are."""

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import Any

from rich.console import Console

from experiments.tasks.rows import Figure
from experiments.tuning.directory import Record
from experiments.tuning.progress import ROWS, Progress
from experiments.tuning.request import Goals

LOSS = Figure("loss", maximise=False)


def progress_over(records: list[Record], terminal: bool) -> tuple[Progress, io.StringIO]:
    finished = sorted((r for r in records if r.status == "finished"),
                      key=lambda r: r.figures["loss"] or 0)  # fmt: skip
    journal: Any = SimpleNamespace(
        records={r.number: r for r in records}, goals=Goals((LOSS,), LOSS), total=len(records),
        search=SimpleNamespace(path="runs/search"), best_first=lambda: finished,
    )  # fmt: skip
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=100, markup=False)
    return Progress(journal, console, epochs=6), out


def records_of(count: int) -> list[Record]:
    found = []
    for number in range(count):
        status = "running" if number >= count - 20 else "failed" if number % 7 == 0 else "finished"
        figures = {"loss": 1.0 / (1 + number)}
        found.append(Record(number, {"optimizer.lr": f"{0.1 / (1 + number):.12g}"}, status=status,
                            epochs=6, figures=figures, seconds=90.0))  # fmt: skip
    return found


def test_a_hundred_trials_take_ten_rows() -> None:
    progress, out = progress_over(records_of(100), terminal=True)
    with progress:
        for number in range(80, 100):
            progress.heard(number, {"epoch": 3, "loss": 0.5})
        progress.refresh(force=True)
        table = progress.table()
        assert table.row_count == ROWS
        assert progress.counts() == (
            "100 trials: 68 finished, 20 running, 12 failed; about 2 minutes are left")  # fmt: skip
    shown = out.getvalue()
    assert " 79 " in shown and "3/6" in shown


def test_without_a_terminal_each_trial_that_ends_has_a_line() -> None:
    records = records_of(3)
    records[0].message = "the loss is nan\nTry a smaller optimizer.lr"
    progress, out = progress_over(records, terminal=False)
    with progress:
        for record in records:
            progress.ended(record)
            progress.refresh()
    lines = out.getvalue().splitlines()
    assert len(lines) == 3
    assert lines[0].endswith("loss 1.0000 optimizer.lr=0.1 the loss is nan")
