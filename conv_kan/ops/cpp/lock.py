"""One process compiles a library while the others wait for it."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from conv_kan.ops.cpp.compiler import Wait

try:
    import fcntl
except ImportError:  # Windows has no POSIX locks: there all of them compile
    fcntl = None  # type: ignore[assignment]

PATIENCE = 120.0  # seconds: more than a compiler takes, less than somebody waits for a hung program
_THREADS = threading.Lock()  # a POSIX lock does not keep the threads of a process from each other


class BuildLock:
    """Held while a library is compiled; a POSIX lock, which ends with its process, however it ends.

    Whose patience ends, as that of a process which waits for a suspended one, and who finds a file
    system without locks, enters without the lock: both compile, which costs time and no harm.
    """

    def __init__(self, library: Path, wait: Wait) -> None:
        self.path, self.wait = library.with_suffix(".lock"), wait
        self._threads = False
        self._handle: int | None = None

    @property
    def held(self) -> bool:
        """Whether no other process is in here."""
        return self._handle is not None

    def __enter__(self) -> BuildLock:
        """Raises: OSError; what the wait raises."""
        until = time.monotonic() + PATIENCE
        self._threads = self._poll(lambda: _THREADS.acquire(blocking=False), until)
        try:
            if fcntl is not None:
                self._poll(self._take, until)
        except BaseException:
            self.__exit__()
            raise
        return self

    def _poll(self, take: Callable[[], bool], until: float) -> bool:
        while not (taken := take()) and time.monotonic() < until:
            self.wait.a_moment()
        return taken

    def _take(self) -> bool:
        """One try; whether nothing is left to wait for."""
        handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            there = os.stat(self.path)
        except OSError as error:
            os.close(handle)
            busy = (errno.EACCES, errno.EAGAIN, errno.ENOENT)  # ENOENT: see below
            return error.errno not in busy
        own = os.fstat(handle)
        if (own.st_dev, own.st_ino) != (there.st_dev, there.st_ino):
            os.close(handle)  # its holder removed the file in between
            return False
        self._handle = handle
        return True

    def __exit__(self, *exception: object) -> None:
        """Remove the file and give the lock back, in this order: see _take."""
        if self._handle is not None:
            with suppress(OSError):
                self.path.unlink()
            os.close(self._handle)
            self._handle = None
        if self._threads:
            _THREADS.release()
