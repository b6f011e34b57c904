"""SIGTERM and Ctrl-C as a request: finish the step, save, say how to resume."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any


class Interrupted(Exception):  # noqa: N818 - a request that was met is no error
    """Training stopped on request after its checkpoint was written."""

    def __init__(self, number: int | None) -> None:
        self.number = int(number or signal.SIGTERM)
        super().__init__(signal.Signals(self.number).name)


class StopSignal:
    """While entered, SIGTERM and SIGINT only set `signal`; a second Ctrl-C stops at once."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> StopSignal:
        if threading.current_thread() is threading.main_thread():  # only there Python allows it
            for number in (signal.SIGTERM, signal.SIGINT):
                self._previous[number] = signal.signal(number, self._receive)
        return self

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = number

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
