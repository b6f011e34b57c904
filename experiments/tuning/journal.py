"""The trials of a search in their order: suggested, recorded before they start, told when they end.

What Ray asks and tells passes here, and nothing that Ray remembers is needed: after a kill the
records and run directories are read again, trials that had ended are told to Ray from their rows,
those that had not go on where their runs are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from experiments.config.parse import to_dict
from experiments.config.resume import FREE, differences, policy
from experiments.errors import reason
from experiments.files import read_mapping
from experiments.tuning.checks import Composer
from experiments.tuning.directory import (
    FAILED,
    INTERRUPTED,
    RUNNING,
    SCORED,
    STOPPED,
    Record,
    SearchDirectory,
    run_directories,
)
from experiments.tuning.follower import Order, costs_of, rows_of
from experiments.tuning.process import path_override
from experiments.tuning.request import Goals
from experiments.tuning.samplers import Sampler


class Journal:
    """All trials of one search, and the next one.

    composer: from sampled values to the config that they mean; its common overrides are every
    trial's. plumbing: overrides of every trial that change nothing of what it computes.
    """

    def __init__(
        self,
        search: SearchDirectory,
        sampler: Sampler,
        goals: Goals,
        composer: Composer,
        plumbing: list[str],
        trials: int | None,
    ) -> None:
        self.search, self.sampler, self.goals = search, sampler, goals
        self.composer, self.plumbing, self.trials = composer, plumbing, trials
        self.records = {record.number: record for record in search.read_records()}
        self.waiting = sorted(self.records)
        self.stopping = False
        self._reconcile()

    def _reconcile(self) -> None:
        """Bring the sampler to what the records know, which are written before it is told."""
        known = {r.optuna for r in self.records.values() if r.optuna is not None}
        self.sampler.forget_all_but(known)
        for record in self.records.values():
            if record.ended:
                self.sampler.tell(record.optuna, self._scores(record))

    # -------------------------------------------------------------------------------------- next
    def next(self) -> Order | None:
        """The trial to start now; None if there are no more."""
        if self.stopping:
            return None
        if self.waiting:
            record = self.records[self.waiting.pop(0)]
        else:
            found = self._suggest()
            if found is None:
                return None
            record = found
        order = Order(record.number, self.overrides(record.number, record.values))
        if record.ended:
            order.until, order.status, order.message = record.epochs, record.status, record.message
        else:
            record.status, record.overrides = RUNNING, order.overrides
            self.search.write_record(record)
        return order

    def _suggest(self) -> Record | None:
        number = max(self.records, default=-1) + 1
        if self.trials is not None and number >= self.trials:
            return None
        suggestion = self.sampler.suggest(number)
        if suggestion is None:
            return None
        record = Record(number, suggestion.values, optuna=suggestion.known_as)
        self.records[number] = record
        self.search.write_record(record)
        return record

    def overrides(self, number: int, values: Mapping[str, str]) -> list[str]:
        """All overrides of a trial: sampled, common, and where its run is written."""
        folder = self.search.run_folder(number)
        return [
            *(f"{key}={text}" for key, text in values.items()),
            *self.composer.common,
            *self.plumbing,
            "trainer.test=false",
            "trainer.progress=false",
            path_override("runs_dir", folder.parent),
            f"name={folder.name}",
        ]

    # --------------------------------------------------------------------------------------- end
    def finish(self, number: int, result: Mapping[str, Any], lost: str = "") -> Record:
        """Record how a trial has ended, then tell the sampler.

        result: the last that was told of it; lost: why there is nobody who could have said more.
        """
        record = self.records[number]
        if record.ended:
            return record
        status = FAILED if lost else str(result.get("ended") or STOPPED)
        if self.stopping and status == STOPPED:
            status = INTERRUPTED
        record.message = lost or str(result.get("message") or "")
        self.read_run(record)
        record.seconds = float(result.get("time_total_s") or record.seconds)
        wrong = self.not_arrived(record) if status in SCORED else ""
        if wrong:
            status, record.message = FAILED, wrong
        record.status = status
        self.search.write_record(record)
        if record.ended:
            self.sampler.tell(record.optuna, self._scores(record))
        return record

    def read_run(self, record: Record) -> None:
        """What the newest run of a trial says of it: epochs, the best one, its objectives."""
        runs = run_directories(self.search.run_folder(record.number))
        if not runs:
            return
        record.run = str(runs[-1].relative_to(self.search.path))
        rows = rows_of(runs[-1])
        record.epochs = max(rows, default=0)
        best = best_row(rows, self.goals)
        if best is not None:
            record.best_epoch = best["epoch"]
            found = {**best, **costs_of(runs[-1])}
            record.figures = {f.name: _finite(found.get(f.name)) for f in self.goals.objectives}

    def not_arrived(self, record: Record) -> str:
        """Words for the values of a trial with which its run has not trained; empty if all did."""
        if record.run is None:
            return ""
        path = self.search.path / record.run / "config.yaml"
        meant = to_dict(self.composer.compose(record.values))
        try:
            changed = differences(read_mapping(path), meant)
        except (OSError, ValueError) as error:
            return f"cannot read {path}: {reason(error)}"
        own = ("trainer.test", "trainer.start_from", "trainer.resume")
        wrong = [
            f"{key}: {new!r} was meant, the run has {old!r}"
            for key, (old, new) in changed.items()
            if policy(key) != FREE and key not in own
        ]
        return f"values did not arrive: {'; '.join(wrong)}" if wrong else ""

    def _scores(self, record: Record) -> list[float] | None:
        """The objectives of a trial for the sampler; None if one of them is missing."""
        if record.status not in SCORED:
            return None
        found = [record.figures.get(f.name) for f in self.goals.objectives]
        return None if any(v is None for v in found) else [float(v) for v in found if v is not None]

    # ------------------------------------------------------------------------------------- looking
    @property
    def total(self) -> int:
        """How many trials there will be, as far as known."""
        return max(self.trials or 0, len(self.records))

    def best_first(self) -> list[Record]:
        """Trials with figures, those that finished before those that were stopped, the best first.

        By the first objective; trials that finished come first: another run of one that was
        stopped would go on.
        """
        first = self.goals.objectives[0]
        sign = -1 if first.maximise else 1
        scored = [r for r in self.records.values()
                  if r.status in SCORED and r.figures.get(first.name) is not None]  # fmt: skip

        def rank(record: Record) -> tuple[int, float, int]:
            value = record.figures[first.name]
            assert value is not None
            return SCORED.index(record.status), sign * value, record.number

        return sorted(scored, key=rank)

    def end(self) -> None:
        """Record as interrupted what nobody has ended."""
        for record in self.records.values():
            if record.status == RUNNING:
                record.status = INTERRUPTED
                self.read_run(record)
                self.search.write_record(record)


def best_row(rows: Mapping[int, Mapping[str, Any]], goals: Goals) -> dict[str, Any] | None:
    """The row of the epoch whose weights a run keeps: the best, the earliest of equals."""
    name, sign = goals.monitor.name, 1 if goals.monitor.maximise else -1
    usable = [dict(row) for row in rows.values() if _finite(row.get(name)) is not None]
    return max(usable, key=lambda row: (sign * row[name], -row["epoch"]), default=None)


def _finite(value: Any) -> float | None:
    usable = isinstance(value, (int, float)) and math.isfinite(value)
    return float(value) if usable else None
