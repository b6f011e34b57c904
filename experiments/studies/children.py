"""Trains the settings of a study, each in a process of its own, and keeps a row of each."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from experiments.reporting.read import Run, read_run
from experiments.runs.lock import RunLock
from experiments.studies import record
from experiments.studies.setting import Setting
from experiments.training.interrupt import SIGNALS, StopSignal

ROOT = Path(__file__).resolve().parents[2]
PYTHON = (sys.executable,)
_PAUSE = 0.1  # seconds between two looks at the children


@dataclass(frozen=True)
class Place:
    """Where a study writes: its CSV file, and the folder that its runs lie in, by their names."""

    table: Path
    runs: Path

    def log(self, setting: Setting) -> Path:
        """What a run printed since it was last started."""
        return self.runs / setting.folder / f"seed{setting.seed}.log"


@dataclass
class Child:
    """A run in progress."""

    setting: Setting
    process: subprocess.Popen[bytes]
    log: IO[bytes]


@dataclass
class Queue:
    """Settings on their way to rows: `jobs` at once; after `seconds` none is started anymore."""

    place: Place
    jobs: int = 1
    seconds: float | None = None
    say: Callable[[str], None] = print
    active: list[Child] = field(default_factory=list)

    def work(self, settings: Sequence[Setting]) -> int:
        """Train what is not finished. Returns 0, or 128 + n where signal n has stopped it.

        A signal is passed on to the runs, which save and end; the next call takes them up.
        """
        rows = record.read(self.place.table)
        todo = deque(s for s in settings if record.finished(rows, s) is None)
        self.say(f"{len(settings) - len(todo)} of {len(settings)} rows are finished")
        with StopSignal() as stop:
            try:
                self._work(todo, stop)
            except BaseException:
                for child in self.active:
                    child.process.kill()
                raise
        return 128 + stop.signal if stop.signal else 0

    def _work(self, todo: deque[Setting], stop: StopSignal) -> None:
        started, done, asked = time.monotonic(), 0, False
        while todo or self.active:
            late = self.seconds is not None and time.monotonic() - started >= self.seconds
            if (stop.signal or late) and todo:
                self.say(_stopping(stop.signal, len(todo), len(self.active)))
                todo.clear()
            if stop.signal and not asked:
                asked = True
                for child in self.active:
                    child.process.terminate()
            while todo and len(self.active) < self.jobs:
                self.start(todo.popleft())
            time.sleep(_PAUSE if self.active else 0)
            for row in self.ended():
                done += 1
                waiting = [*todo, *(child.setting for child in self.active)]
                self.say(f"[{done}/{done + len(waiting)}] {_told(row)}{self.left(waiting)}")

    def start(self, setting: Setting) -> None:
        """Start a run, or take up one that was stopped; one that another process trains is left."""
        found = find_run(setting, self.place.runs)
        if found is not None and found.status == record.FINISHED and found.test:
            record.append(self.place.table, record.row_of(setting, found))
            self.say(f"{setting.name} seed {setting.seed} had finished: its row is written")
            return
        holder = None if found is None else _holder(found.path)
        if holder is not None:
            self.say(f"{setting.name} seed {setting.seed} is passed over: {holder} trains it")
            return
        log = self.place.log(setting)
        log.parent.mkdir(parents=True, exist_ok=True)
        handle = open(log, "wb")  # noqa: SIM115 - closed with its run
        process = subprocess.Popen(
            [*PYTHON, *setting.command, *_where(setting, self.place.runs)],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=handle,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a Ctrl-C reaches the study alone, which passes it on
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        self.active.append(Child(setting, process, handle))

    def ended(self) -> list[record.Row]:
        """The rows of runs that have ended, by now in the table; stopped ones have none."""
        rows = []
        for child in [c for c in self.active if c.process.poll() is not None]:
            self.active.remove(child)
            child.log.close()
            row = self.row_of(child)
            if row is not None:
                record.append(self.place.table, row)
                rows.append(row)
        return rows

    def row_of(self, child: Child) -> record.Row | None:
        code, run = child.process.returncode, find_run(child.setting, self.place.runs)
        if code == 0 and run is not None and run.status == record.FINISHED:
            return record.row_of(child.setting, run)
        if code > 128 or -code in SIGNALS:  # it was asked to stop, maybe before it listened
            self.say(f"{child.setting.name} seed {child.setting.seed} was stopped")
            return None
        words = last_words(self.place.log(child.setting))
        error = f"ended by signal {-code}: {words}" if code < 0 else words
        return record.row_of(child.setting, run, error)

    def left(self, settings: Sequence[Setting]) -> str:
        """How long these will take, as the rows so far tell."""
        times: dict[str, list[float]] = {}
        for row in record.read(self.place.table):
            if row["seconds"]:
                name = "/".join(record.key_of(row)[:-1])
                times.setdefault(name, []).append(row["seconds"])
                times.setdefault("", []).append(row["seconds"])
        if not settings or not times:
            return ""
        total = sum(statistics.fmean(times.get(s.name, times[""])) for s in settings)
        return f"; about {duration(total / self.jobs)} left"


def find_run(setting: Setting, runs: Path) -> Run | None:
    """The run of a setting: the one that has finished, else the newest; None if there is none."""
    files = sorted((runs / setting.folder).glob("*/manifest.json"))
    found = [run for run in map(read_run, (f.parent for f in files)) if _seed(run) == setting.seed]
    return max(found, key=lambda r: (r.status == record.FINISHED, str(r.path)), default=None)


def last_words(log: Path) -> str:
    """The error that a run ended with, in one line."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    return next(iter([*errors[-1:], *lines[-1:]]), "it said nothing").removeprefix("error: ")


def duration(seconds: float) -> str:
    """3725 -> '1 h 2 min'."""
    minutes = round(seconds / 60)
    if minutes < 2:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _where(setting: Setting, runs: Path) -> list[str]:
    folders = [f"runs_dir={runs}", f"name={setting.folder}"]
    return [*folders, "trainer.resume=auto", "trainer.progress=false"]


def _seed(run: Run) -> Any:
    return run.config.get("seed", run.manifest.get("seed"))


def _holder(run: Path) -> str | None:
    """Words for the process that trains in a run directory, if there is one."""
    lock = RunLock(run)
    try:
        return lock.take()
    finally:
        lock.release()


def _told(row: record.Row) -> str:
    name = f"{'/'.join(record.key_of(row)[:-1])} seed {row['seed']}"
    if row["status"] == record.FAILED:
        return f"{name} failed: {row['error']}"
    took = "" if row["seconds"] is None else f" in {duration(row['seconds'])}"
    return f"{name}: {row['test']:.2%}{took}"


def _stopping(signal: int | None, waiting: int, active: int) -> str:
    why = "stopped on request" if signal else "the time is over"
    running = f"{active} running {'ends' if active == 1 else 'end'} first; " if active else ""
    rows = "row is" if waiting == 1 else "rows are"
    return f"{why}: {running}{waiting} {rows} left for the next call"
