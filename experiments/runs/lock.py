"""Who trains in a run directory: one process at a time, named to all others."""

from __future__ import annotations

import errno
import json
import os
import socket
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path

from experiments.files import HELD, LOCK, fcntl


class RunLock:
    """The lock of a run directory, a POSIX lock on its lock.json, which names the holder.

    It ends with the process, however that ends. Unlike flock it does not pass to forked children:
    workers that outlive a killed run for a moment must not keep its directory.
    """

    def __init__(self, run: Path) -> None:
        self.path = run / LOCK
        self._handle: int | None = None

    def take(self) -> str | None:
        """Take the lock; return None, or words for its holder where another process has it."""
        if self.path in HELD:
            return f"this process ({os.getpid()})"
        if fcntl is None:  # there a run is not protected
            return None
        while self._handle is None:
            handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                holder = _read_holder(handle)
                os.close(handle)
                if error.errno in (errno.EACCES, errno.EAGAIN):
                    return holder
                return None  # a file system without locks
            if _is_file(handle, self.path):
                self._handle = handle
            else:  # its holder removed it in between
                os.close(handle)
        HELD.add(self.path)
        os.ftruncate(self._handle, 0)
        os.write(self._handle, json.dumps(_own_name()).encode())
        return None

    def release(self) -> None:
        """Remove the file and give the lock back, in this order: see take."""
        if self._handle is None:
            return
        with suppress(OSError):
            self.path.unlink()
        os.close(self._handle)
        self._handle = None
        HELD.discard(self.path)


def _own_name() -> dict[str, str | int]:
    since = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return {"pid": os.getpid(), "host": socket.gethostname(), "since": since}


def _read_holder(handle: int) -> str:
    try:
        name = json.loads(os.pread(handle, 4096, 0))
        return f"process {name['pid']} on {name['host']} since {name['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"


def _is_file(handle: int, path: Path) -> bool:
    try:
        there = os.stat(path)
    except FileNotFoundError:
        return False
    own = os.fstat(handle)
    return (own.st_dev, own.st_ino) == (there.st_dev, there.st_ino)
