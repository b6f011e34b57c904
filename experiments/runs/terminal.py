"""Standard output and error that may go away: a closed pipe or terminal ends no training."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Lasting:
    """A text stream that is silent from the first write that fails.

    What fails is a pipe whose reader has ended, a terminal that was closed, a full disk. All that
    was to be read there stands in the run's files as well.
    """

    def __init__(self, stream: Any) -> None:
        self._stream, self._gone = stream, False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        if not self._gone:
            try:
                self._stream.write(text)
            except UnicodeEncodeError:  # a name that is no text, or that the terminal cannot show
                self.write(text.encode("ascii", "backslashreplace").decode("ascii"))
            except (OSError, ValueError):
                self._let_go()
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        if not self._gone:
            try:
                self._stream.flush()
            except (OSError, ValueError):
                self._let_go()

    def isatty(self) -> bool:
        return not self._gone and not self._stream.closed and bool(self._stream.isatty())

    def _let_go(self) -> None:
        """Send what is still written there, also by libraries and at the exit, nowhere."""
        self._gone = True
        try:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)
        except (OSError, ValueError):  # not a file, or closed already
            pass


def _lasting(stream: Any) -> Any:
    """The stream, Lasting; one that was closed from the start is None, its number free for any
    file, and nothing takes its place."""
    if isinstance(stream, Lasting):
        return stream
    return Lasting(open(os.devnull, "w") if stream is None else stream)


@contextmanager
def lasting_output() -> Iterator[None]:
    """While entered, standard output and error are Lasting."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = map(_lasting, before)
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, Lasting):
                stream.flush()  # here, not at the exit, where a failure would be an exit code
        sys.stdout, sys.stderr = before
