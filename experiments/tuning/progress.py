"""The table on the terminal while a search runs: the best trials, how many there are, what is left.

It has ten rows however many trials there are; without a terminal, each that ends has a line.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from experiments.tuning.directory import RUNNING, Record
from experiments.tuning.journal import Journal

ROWS = 10
EVERY = 1.0  # seconds between two looks of the table


class Progress:
    """What the terminal shows of a journal."""

    def __init__(self, journal: Journal, console: Console, epochs: int) -> None:
        self.journal, self.console, self.epochs = journal, console, epochs
        self.now: dict[int, Mapping[str, Any]] = {}  # the last epoch of trials that run
        self._live: Live | None = None
        self._shown = 0.0

    def __enter__(self) -> Progress:
        if self.console.is_terminal:
            self._live = Live(console=self.console, auto_refresh=False, transient=True)
            self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def say(self, text: str) -> None:
        self.console.print(text, highlight=False, soft_wrap=True)

    def heard(self, number: int, result: Mapping[str, Any]) -> None:
        """An epoch of a trial is known."""
        self.now[number] = result

    def ended(self, record: Record) -> None:
        self.now.pop(record.number, None)
        if self._live is None:
            self.say(f"{record.name} {record.status} {self.figures(record)} "
                     f"{' '.join(f'{k}={v}' for k, v in record.values.items())} "
                     f"{record.message.partition(chr(10))[0]}".rstrip())  # fmt: skip
        self.refresh(force=True)

    def figures(self, record: Record) -> str:
        """The objectives of a trial, as people read them."""
        goals = self.journal.goals
        return ", ".join(
            f"{figure.name} {goals.show(figure, record.figures.get(figure.name))}"
            for figure in goals.objectives
        )

    def refresh(self, force: bool = False) -> None:
        if self._live is not None and (force or time.monotonic() - self._shown > EVERY):
            self._shown = time.monotonic()
            self._live.update(Group(self.table(), Text(self.counts())), refresh=True)

    def table(self) -> Table:
        """The best trials so far; then those that run, as far as there is room."""
        table = Table(title=str(self.journal.search.path), title_justify="left")
        goals = self.journal.goals
        names = [f.name for f in goals.objectives]
        for heading in ("trial", "status", "epoch", *names):
            table.add_column(heading, justify="left" if heading == "status" else "right")
        table.add_column("values", overflow="ellipsis", no_wrap=True)
        running = [self.journal.records[n] for n in sorted(self.now)]
        best = self.journal.best_first()
        for record in [*best[: max(ROWS - len(running), ROWS // 2)], *running][:ROWS]:
            live = self.now.get(record.number)
            known = record.figures if live is None else live
            epoch = record.epochs if live is None else live.get("epoch", 0)
            shown = [goals.show(figure, known.get(figure.name))
                     for figure in goals.objectives]  # fmt: skip
            values = " ".join(f"{k}={v}" for k, v in record.values.items())
            table.add_row(str(record.number), record.status, f"{epoch}/{self.epochs}", *shown,
                          values)  # fmt: skip
        return table

    def counts(self) -> str:
        """How many trials there are of each kind, and about how long the rest will take."""
        counts = Counter(record.status for record in self.journal.records.values())
        words = ", ".join(f"{n} {status}" for status, n in counts.most_common())
        total = self.journal.total
        left = total - sum(n for status, n in counts.items() if status != RUNNING)
        text = f"{total} trials: {words or 'none yet'}"
        taken = [r.seconds for r in self.journal.records.values() if r.ended and r.seconds]
        if taken and left:
            mean = sum(taken) / len(taken)
            minutes = mean * left / max(counts[RUNNING], 1) / 60
            text += f"; about {minutes:.0f} minutes are left"
        return text
