"""What Ray asks and tells while a search runs, handed to the journal and to the terminal."""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from ray.tune import Callback, Stopper
from ray.tune.search import Searcher

from experiments.training.interrupt import HANGUP
from experiments.tuning.follower import Order
from experiments.tuning.journal import Journal
from experiments.tuning.population import as_texts
from experiments.tuning.progress import Progress
from experiments.tuning.space import Space


class Here:
    """Lives in this process alone: Ray copies and pickles what it is given, for a restart that
    here begins from the journal."""

    def __deepcopy__(self, memo: Any) -> Any:
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {}


class Suggestions(Here, Searcher):
    """Hands out the journal's trials; Ray's own searchers would not outlive it."""

    def __init__(self, journal: Journal, dump: Callable[[Order], str]) -> None:
        super().__init__()
        self.journal, self.dump = journal, dump

    def set_search_properties(self, metric: Any, mode: Any, config: Any, **spec: Any) -> bool:
        return True

    def suggest(self, trial_id: str) -> Any:
        order = self.journal.next()
        return Searcher.FINISHED if order is None else {"order": self.dump(order)}

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        """The Listener hears of it with more to go by."""

    def save(self, checkpoint_path: str) -> None:
        """The journal is on the disk."""

    def restore(self, checkpoint_path: str) -> None:
        """The journal reads itself."""


class StopAll(Here, Stopper):
    """Ends the search when it is asked to stop."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self.journal.stopping


class Stop:
    """Ctrl-C, SIGTERM, SIGHUP as a request: trials save and end. A second Ctrl-C stops at once."""

    def __init__(self, journal: Journal, progress: Progress) -> None:
        self.journal, self.progress, self.signal = journal, progress, 0
        self._taken = False

    def take(self) -> None:
        """Receive the signals, from whoever has set handlers of its own meanwhile."""
        if not self._taken:
            self._taken = True
            for number in (signal.SIGINT, signal.SIGTERM, *([] if HANGUP is None else [HANGUP])):
                signal.signal(number, self._receive)

    def _receive(self, number: int, frame: Any) -> None:
        if self.signal and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal, self.journal.stopping = number, True
        self.journal.search.stop.touch()
        self.progress.say("stopping: the trials that run save what they have done")


class Listener(Here, Callback):
    """Tells the journal how trials end, and the terminal how they do."""

    def __init__(
        self, journal: Journal, progress: Progress, stop: Stop, population: Space | None
    ) -> None:
        self.journal, self.progress, self.stop = journal, progress, stop
        self.population = population

    def on_step_begin(self, iteration: int, trials: Any, **info: Any) -> None:
        self.stop.take()

    def on_step_end(self, iteration: int, trials: Any, **info: Any) -> None:
        self.progress.refresh()

    def on_trial_result(
        self, iteration: int, trials: Any, trial: Any, result: Any, **info: Any
    ) -> None:
        number = _number(trial)
        record = self.journal.records[number]
        if self.population is not None:
            values = as_texts(self.population, trial.config)
            if values != record.values:
                record.values = values
                self.journal.search.write_record(record)
        self.progress.heard(number, result)

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        record = self.journal.finish(_number(trial), trial.last_result or {})
        self.progress.ended(record)

    def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        lost = "the process that watched it was lost" + _why(trial)
        self.progress.ended(self.journal.finish(_number(trial), trial.last_result or {}, lost))


def _number(trial: Any) -> int:
    return int(str(trial).rpartition("-")[2])


def _why(trial: Any) -> str:
    """What Ray says of a trial that it lost, in one line."""
    with suppress(OSError, TypeError):
        text = Path(trial.error_file).read_text(errors="replace")
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        telling = [line for line in lines if "emory" in line] or lines
        if telling:
            return f": {telling[-1][:300]}"
    return ""
