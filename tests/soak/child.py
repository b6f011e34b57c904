"""cifar.py in a process that is ended, or whose disk is full, at a random time or write.

    python -m tests.soak.child '{"rank": 0, "signal": 9, "seconds": 1.5}' KEY=VALUE ...

Seconds are of the processor, so that a busy machine moves no event; with a "file" in its plan the
process notes there how many it took. Writes are what the interpreter reports of its files: opening
one to write, renaming, making a folder, and flushing to the disk. `writes` counts those under
`folder`.
"""

from __future__ import annotations

import atexit
import errno
import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

_WRITES = {"os.rename", "os.mkdir", "os.truncate", "os.remove"}
_NEED_SPACE = {"open", "os.mkdir", "fsync"}


def disturb(plan: dict[str, Any]) -> None:
    """Do what the plan says, if it is this process that it means."""
    if int(os.environ.get("RANK", "0")) != plan["rank"]:
        return
    if "file" in plan:
        atexit.register(lambda: Path(plan["file"]).write_text(str(time.process_time())))
    elif "seconds" in plan:
        threading.Thread(target=_later, args=(plan,), daemon=True).start()
    else:
        _watch(plan)


def _later(plan: dict[str, Any]) -> None:
    until = time.process_time() + plan["seconds"]
    while time.process_time() < until:
        time.sleep(0.01)
    os.kill(os.getpid(), plan["signal"])


def _watch(plan: dict[str, Any]) -> None:
    """At write number `writes` under `folder` a signal; or from it on there is no space."""
    seen, folder = 0, plan["folder"]

    def note(event: str) -> None:
        nonlocal seen
        seen += 1
        if seen < plan["writes"]:
            return
        if "signal" in plan:
            os.kill(os.getpid(), plan["signal"])
        elif event in _NEED_SPACE:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, mode, flags = arguments
            writes = (
                bool(flags & (os.O_WRONLY | os.O_RDWR))
                if mode is None
                else mode[:1] != "r" or "+" in mode
            )
        else:
            path, writes = arguments[0] if arguments else None, event in _WRITES
        if writes and isinstance(path, (str, os.PathLike)) and os.fspath(path).startswith(folder):
            note(event)

    sync = os.fsync

    def fsync(handle: int) -> None:
        if os.path.realpath(f"/proc/self/fd/{handle}").startswith(folder):
            note("fsync")
        sync(handle)

    os.fsync = fsync
    sys.addaudithook(hook)


if __name__ == "__main__":
    disturb(json.loads(sys.argv.pop(1)))
    sys.argv[0] = "cifar.py"
    from experiments.app import launch

    launch("cifar")
