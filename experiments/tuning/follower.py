"""One trial from outside: starts its run, reads its rows, and says how it ended.

The run directory is the truth: an epoch whose row it has is told without training, whoever trained
it; a run that is not finished is resumed. So the same code starts a trial, goes on with it on
another machine, and tells a search that was killed what it knew.
"""

from __future__ import annotations

import json
import re
import statistics
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from experiments.files import read_mapping, read_rows
from experiments.runs.lock import RunLock
from experiments.tuning.directory import (
    FAILED,
    FINISHED,
    INTERRUPTED,
    TIMEOUT,
    SearchDirectory,
    run_directories,
)
from experiments.tuning.process import Child, entry_command, environment, path_override

POLL = 0.2  # seconds between two looks at a run
NO_MEMORY = "memory has run out"  # see experiments.errors.SHORTAGES
Result = dict[str, Any]


@dataclass
class Order:
    """What a trial is to do: its overrides, and the checkpoint of another one to begin with.

    until: epochs after which it is to end though it has not finished; status: how it then ended.
    """

    number: int
    overrides: list[str]
    start_from: str | None = None
    until: int | None = None
    status: str = ""
    message: str = ""


@dataclass
class Launch:
    """How the processes of a search are started; search.json holds it."""

    script: str
    cwd: str
    epochs: int
    environment: dict[str, str | None] = field(default_factory=dict)
    processes: int = 1
    gpus: float = 0.0
    trial_seconds: float | None = None
    retries: int = 1


class Follower:
    """Follows the run of one trial, epoch by epoch."""

    def __init__(self, search: SearchDirectory, launch: Launch, order: Order) -> None:
        self.search, self.launch, self.order = search, launch, order
        self.folder = search.run_folder(order.number)
        self.earlier: set[Path] = set()  # runs with other overrides, which are not this order's
        self.child: Child | None = None
        self.failures = 0
        self.ended_as = ""

    def begin_anew(self, order: Order) -> None:
        """Other overrides, from another trial's checkpoint: a new run of this trial."""
        self.close()
        self.earlier = set(run_directories(self.folder))
        self.order, self.failures = order, 0

    # ----------------------------------------------------------------------------------- the epochs
    def epoch(self, number: int) -> Result:
        """The figures of an epoch, once there are any; "ended" says how a trial ends with it.

        A run that trainer.patience has ended has no row of the epochs that it leaves out: the first
        of them ends the trial without figures.
        """
        order = self.order
        while True:
            run = self.run()
            finished = status_of(run) == FINISHED  # asked first: then no row is yet to come
            row = None if run is None else rows_of(run).get(number)
            if order.until is not None:  # told again, not trained
                ended = order.status if number >= order.until or row is None else ""
                return self._told(run, row, ended, order.message)
            if row is not None and number < self.launch.epochs:
                return self._told(run, row)
            if run is not None and finished:
                return self._told(run, row, FINISHED)
            ended, message = self._proceed(run)
            if ended:
                self.close()
                return self._told(run, row, ended, message)
            time.sleep(POLL)

    def _told(
        self, run: Path | None, row: Result | None, ended: str = "", message: str = ""
    ) -> Result:
        self.ended_as = ended
        known = {} if run is None else costs_of(run)
        figures = {} if row is None else {k: v for k, v in row.items() if k != "split"}
        return {**known, **figures, "ended": ended, "message": message, "done": bool(ended)}

    def _proceed(self, run: Path | None) -> tuple[str, str]:
        """Start the process or look at it; (how the trial has ended, why), or nothing yet."""
        if self.search.stop.exists():
            self.close()
            return INTERRUPTED, ""
        if self.child is None:
            self.child = self._start(run)
            return "", ""
        limit = self.launch.trial_seconds
        code = self.child.poll()
        if code is None and limit is not None and self.child.seconds > limit:
            self.child.kill()
            return TIMEOUT, f"ended after tune.trial_seconds={limit:g}"
        if code is None:
            return "", ""
        said, self.child = self.child.said(), None
        if code == 0:
            done = self.run() is not None and status_of(self.run()) == FINISHED
            return ("", "") if done else (FAILED, "its process ended without a finished run")
        message, again = explain_exit(code, said)
        self.failures += 1
        if again and self.failures <= self.launch.retries:
            return "", ""
        return FAILED, message

    def _start(self, run: Path | None) -> Child:
        launch, overrides = self.launch, [*self.order.overrides]
        begun = self.order.start_from if run is None else beginning_of(run)
        if begun is not None:
            overrides.append(path_override("trainer.start_from", begun))
        if run is not None:
            await_lock(run)
            overrides.append(path_override("trainer.resume", run))
        command = [*entry_command(launch.script, launch.processes, launch.gpus), *overrides]
        variables = environment(launch.environment, launch.processes, launch.gpus)
        log, launched = self.search.log(self.order.number), launch.processes > 1
        return Child(command, Path(launch.cwd), variables, log, launched)

    def run(self) -> Path | None:
        """The run directory of this order, once there is one."""
        found = [path for path in run_directories(self.folder) if path not in self.earlier]
        return found[-1] if found else None

    def checkpoint(self, epoch: int) -> Path | None:
        """The checkpoint at the end of an epoch, waited for a moment: it follows the row."""
        run = self.run()
        row = None if run is None else rows_of(run).get(epoch)
        if run is None or row is None:
            return None
        path = run / "checkpoints" / f"step-{row['step']:08d}"
        for _ in range(100):
            if (path / "checkpoint.json").is_file():
                return path
            time.sleep(POLL)
        return None

    def close(self) -> None:
        """End the process, which saves what it has done."""
        if self.child is not None:
            self.child.end()
            self.child = None


# ---------------------------------------------------------------------------------- what runs say
def rows_of(run: Path) -> dict[int, Result]:
    """{epoch: its validation row} of a run."""
    rows = read_rows(run / "metrics.jsonl")
    return {row["epoch"]: row for row in rows
            if row.get("split") == "validation" and isinstance(row.get("epoch"), int)}  # fmt: skip


def beginning_of(run: Path) -> str | None:
    """The checkpoint of another run that a run began with."""
    with suppress(OSError, ValueError):
        found = read_mapping(run / "config.yaml").get("trainer", {}).get("start_from")
        return None if found is None else str(found)
    return None


def status_of(run: Path | None) -> str:
    """What the manifest of a run says of it."""
    with suppress(OSError, ValueError):
        if run is not None:
            return str(read_mapping(run / "manifest.json").get("status"))
    return ""


def costs_of(run: Path) -> Mapping[str, float]:
    """Parameters, multiply-adds of a sample and milliseconds of a step, as far as known."""
    try:
        manifest = read_mapping(run / "manifest.json")
    except (OSError, ValueError):
        return {}
    found = {key: manifest[key] for key in ("parameters", "macs") if manifest.get(key) is not None}
    step = manifest.get("step_seconds")
    if step is None:
        steps = [row["step_seconds"] for row in read_rows(run / "timing.jsonl")
                 if isinstance(row.get("step_seconds"), float)]  # fmt: skip
        step = statistics.median(steps) if steps else None
    return found if step is None else {**found, "step_ms": 1e3 * step}


def explain_exit(code: int, said: str) -> tuple[str, bool]:
    """(why a process ended with an exit code, whether another try may end otherwise)."""
    if code < 0 or code > 128:
        number = -code if code < 0 else code - 128
        return f"its process was ended by signal {number}, and was tried again", True
    _, found, message = said.rpartition("error: ")
    if code == 2 and found:
        return message.strip(), NO_MEMORY in message
    lines = [line for line in said.splitlines() if line.strip()]
    last = lines[-1].strip() if lines else "it printed nothing"
    return f"its process ended with code {code}: {last}", bool(re.search("MemoryError", last))


def await_lock(run: Path, seconds: float = 60.0) -> None:
    """Wait until nobody trains in a run: its last process may take a moment to end."""
    for _ in range(int(seconds / POLL)):
        lock = RunLock(run)
        if lock.take() is None:
            lock.release()
            return
        time.sleep(POLL)


def read_launch(search: SearchDirectory) -> Launch:
    """How the processes of a search are started."""
    return Launch(**search.read()["launch"])


def dump_order(order: Order) -> str:
    """An order as one text, which passes through Ray's config untouched."""
    return json.dumps(order.__dict__)


def load_order(text: str) -> Order:
    return Order(**json.loads(text))
