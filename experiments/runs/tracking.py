"""Where numbers go: metrics.jsonl and timing.jsonl always, a tracker if asked, the terminal.

metrics.jsonl holds only what the computation determines, so two runs that compute the same write
the same bytes; what the clock determines goes to timing.jsonl.
"""

from __future__ import annotations

import json
import math
import statistics
import time
from collections.abc import Callable
from typing import Any

from accelerate.tracking import GeneralTracker
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from experiments.errors import in_one_line
from experiments.files import append_line, atomic_path
from experiments.runs.directory import RunDirectory
from experiments.tasks.rows import TaskRow

MUCH, A_MINUTE = 0.25, 60.0  # a share of the time, and seconds: what is worth a line
WARM_UP_STEPS = 5  # the first steps pay for caches, compilation and page faults


class RunLog:
    """Rows of metrics, step times and a progress bar; silent on all processes but the first."""

    def __init__(
        self,
        run: RunDirectory,
        *,
        main: bool,
        row: TaskRow,
        steps_per_epoch: int,
        epochs: int,
        batch_size: int,
        progress: bool,
        console: Console,
        tracker: GeneralTracker | None = None,
        validated: bool = True,
    ) -> None:
        self.run, self.main, self.tracker, self.console = run, main, tracker, console
        self.task, self.validated = row, validated
        self.steps_per_epoch, self.epochs, self.batch_size = steps_per_epoch, epochs, batch_size
        self.step_seconds: list[float] = []
        self.epoch_seconds: list[float] = []
        self.epoch_waited: list[float] = []  # the part of them in which there was no batch yet
        self.seconds = self.waited = 0.0  # over all epochs
        self._bar = self._make_bar() if progress and main and console.is_terminal else None
        self._bar_task: Any = None
        self._shown = 0.0
        self._data_share = 0.0  # of the last epoch
        self._train: dict[str, float] = {}  # the last training row, shown beside validation's

    # ------------------------------------------------------------------------------------- metrics
    def row(self, split: str, epoch: int, step: int, values: dict[str, float]) -> None:
        """Append one line to metrics.jsonl (and to the tracker), flushed to the disk."""
        if not self.main:
            return
        line = json.dumps({"split": split, "epoch": epoch, "step": step, **values})
        append_line(self.run.metrics, line)
        self.track(split, step, {**values, "epoch": epoch})
        if split == "train":
            self._write_timing(epoch, step)
        self._print_row(split, epoch, values)

    def track(self, split: str, step: int, values: dict[str, float]) -> None:
        """Hand values to the tracker; one that fails is left out from here on, and ends nothing."""
        named = {
            key if key == "epoch" else f"{split}/{key}": value for key, value in values.items()
        }
        try:
            if self.tracker is not None:
                self.tracker.log(named, step=step)
        except Exception as error:
            self.tracker = None
            self.say(f"the tracker has failed, and gets nothing more: {in_one_line(error)}")

    def say(self, text: str) -> None:
        """A line on the terminal."""
        self.console.print(text)

    def written(self) -> bytes:
        """metrics.jsonl so far; a checkpoint stores it."""
        return self.run.metrics.read_bytes() if self.run.metrics.exists() else b""

    def restore(self, rows: bytes | None, position: int) -> None:
        """Bring metrics.jsonl to what it was at the checkpoint now taken up.

        rows None: a checkpoint of an earlier version, which knows its length alone; of a file that
        has become shorter the whole rows are kept.
        """
        current, name = self.written(), self.run.metrics.name
        if rows is None:
            rows = current[:position]
            if len(rows) < position:
                rows = rows[: rows.rfind(b"\n") + 1]
                self.say(f"{name} has lost rows since the checkpoint: {len(current)} of {position} "
                         "bytes are there; those that are whole are kept")  # fmt: skip
        elif not current.startswith(rows):
            self.say(f"{name} is not as it was at the checkpoint, which has its rows: written anew")
        if current != rows:
            with atomic_path(self.run.metrics) as file:
                file.write_bytes(rows)

    def _write_timing(self, epoch: int, step: int) -> None:
        seconds = self.epoch_seconds
        if seconds:
            median, waited = statistics.median(seconds), sum(self.epoch_waited)
            self._data_share = waited / sum(seconds)
            row = {
                "epoch": epoch,
                "step": step,
                "seconds": sum(seconds),
                "step_seconds": median,
                "images_per_second": self.batch_size / median,
                "data_seconds": waited,
                "data_share": self._data_share,
                "finished": time.time(),
            }
            append_line(self.run.timing, json.dumps(row))
        self.epoch_seconds, self.epoch_waited = [], []

    def median_step(self) -> float | None:
        """Median seconds of a training step, data included; the first steps do not count."""
        counted = self.step_seconds[WARM_UP_STEPS:] or self.step_seconds
        return statistics.median(counted) if counted else None

    def data_share(self) -> float | None:
        """The share of training in which the first process waited for its samples.

        On an accelerator, which computes meanwhile, an upper bound of what they cost.
        """
        return self.waited / self.seconds if self.seconds else None

    # ------------------------------------------------------------------------------------ terminal
    def step_done(
        self, epoch: int, step_in_epoch: int, loss: Callable[[], float], lr: float,
        seconds: float, waited: float,
    ) -> None:  # fmt: skip
        self.step_seconds.append(seconds)
        self.epoch_seconds.append(seconds)
        self.epoch_waited.append(waited)
        self.seconds += seconds
        self.waited += waited
        now = time.monotonic()
        if self._bar is None or (now - self._shown < 0.2 and step_in_epoch < self.steps_per_epoch):
            return
        self._shown = now
        if self._bar_task is None:
            self._bar.start()
            self._bar_task = self._bar.add_task(
                "", total=self.epochs * self.steps_per_epoch, epoch=0, loss=0.0, lr=0.0, rate=0.0
            )
        recent = statistics.median(self.epoch_seconds[-20:])
        self._bar.update(
            self._bar_task,
            completed=epoch * self.steps_per_epoch + step_in_epoch,
            epoch=epoch + 1,
            loss=loss(),
            lr=lr,
            rate=self.batch_size / recent,
        )

    def _make_bar(self) -> Progress:
        return Progress(
            TextColumn("epoch {task.fields[epoch]}"), BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]:.4f}  lr {task.fields[lr]:.2e}  "
                       f"{{task.fields[rate]:.0f}} {self.task.unit}s/s  left"),
            TimeRemainingColumn(), console=self.console, transient=True,
        )  # fmt: skip

    def _print_row(self, split: str, epoch: int, values: dict[str, float]) -> None:
        if split == "train":
            self._train = values
            if self.validated:
                return
        train = self._train
        judged = f"{split} {self._figures(values)}  " if self.validated else ""
        seconds = self.median_step()
        rate = self.batch_size / seconds if seconds else 0.0
        self.console.print(
            f"epoch {epoch:>3}/{self.epochs}  train {self._figures(train)}  "
            f"{judged}lr {train.get('lr', math.nan):.2e}  "
            f"{rate:.0f} {self.task.unit}s/s  data {100 * self._data_share:.0f} %",
            highlight=False,
        )

    def tell_waiting(self) -> None:
        """A line at the end of training that spent much of its time on its samples."""
        share = self.data_share() or 0.0
        if self.main and share >= MUCH and self.waited >= A_MINUTE:
            self.say(
                f"waiting for {self.task.unit}s took {100 * share:.0f} % of the training time "
                f"({self.waited:.0f} s): raise data.workers, or keep decoded images with "
                "data.cache=memory or data.cache=FOLDER"
            )

    def _figures(self, values: dict[str, float]) -> str:
        """The loss, the first figure of the task where there is one, and the running one."""
        first = self.task.monitors[0].name
        running = [] if self.task.running is None else [self.task.running]
        names = list(dict.fromkeys(["loss", *([first] if first in values else []), *running]))
        shown = [self.task.figure(name).show(values.get(name, math.nan)) for name in names]
        return " ".join(f"{name} {text}" for name, text in zip(names, shown, strict=True))

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
        try:
            if self.tracker is not None:
                self.tracker.finish()
        except Exception as error:
            self.say(f"the tracker could not be ended: {in_one_line(error)}")
