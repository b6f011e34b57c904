"""A search that is asked to stop, by a signal."""

from __future__ import annotations

import signal
from typing import Any

from experiments.training.interrupt import HANGUP
from experiments.tuning.journal import Journal
from experiments.tuning.progress import Progress


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
