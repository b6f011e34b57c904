"""SIGTERM, SIGHUP and Ctrl-C as a request: finish the step, save, say how to resume."""

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


HANGUP: int | None = getattr(signal, "SIGHUP", None)  # absent on Windows
SIGNALS = [signal.SIGTERM, signal.SIGINT, *([] if HANGUP is None else [HANGUP])]


class StopSignal:
    """While entered, these signals only set `signal`; a second Ctrl-C stops at once.

    A SIGHUP that is ignored stays so: that is what nohup is for.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> StopSignal:
        if threading.current_thread() is threading.main_thread():  # only there Python allows it
            for number in SIGNALS:
                if number == HANGUP and signal.getsignal(number) == signal.SIG_IGN:
                    continue
                self._previous[number] = signal.signal(number, self._receive)
        return self

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = number

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)


def leave_workers_to_their_loader() -> None:
    """Take back the handler by which torch raises for a killed data worker, in whatever line runs.

    Its loader says the same when the next batch is due: between two steps, where one can save.
    """
    number = getattr(signal, "SIGCHLD", None)  # absent on Windows
    if number is None or threading.current_thread() is not threading.main_thread():
        return
    module = getattr(signal.getsignal(number), "__module__", None) or ""
    if module.startswith("torch.utils.data"):
        signal.signal(number, signal.SIG_DFL)
