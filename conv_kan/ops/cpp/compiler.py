"""Runs the C++ compiler: found once, awaited so that a signal can end it, and its errors explained.

A compiler takes seconds. It runs as a process group of its own, which ends with the wait for it,
however that ends: by Ctrl-C, by a signal that ends this process, or by what `while_compiling` was
given to look for.
"""

from __future__ import annotations

import functools
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

_LOOK = 0.05  # seconds between two looks at signals
_CHECKS: list[Callable[[], None]] = []  # of while_compiling


class CannotCompileError(RuntimeError):
    """There is no library, for a reason that the message gives."""


# What the messages of a compiler say of the machine, and not of the program that it was given.
# Another try, with other options, would end in the same way.
_DISK = "free space in {folder}, or set XDG_CACHE_HOME to a folder on another disk."
_MEMORY = "something ended the compiler, mostly for lack of memory; it takes about 700 MB."
_PARTS = "a part of the compiler or of conv_kan is missing; install it anew."
_CAUSES = {
    "No space left on device": _DISK,
    "Disk quota exceeded": _DISK,
    "Cannot allocate memory": _MEMORY,
    "out of memory": _MEMORY,
    "Killed": _MEMORY,
    "cannot execute": _PARTS,
    "No such file or directory": _PARTS,
}


@functools.cache
def compiler() -> tuple[str, str]:
    """The path of g++ (or of $CXX) and its version.

    Raises: CannotCompileError if there is none.
    """
    name = os.environ.get("CXX", "g++")
    path = shutil.which(name)
    if path is None:
        raise CannotCompileError(f"there is no C++ compiler {name!r} on the PATH; install g++.")
    try:
        done = subprocess.run([path, "--version"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise CannotCompileError(f"{path} --version failed: {error}; install g++.") from error
    return path, done.stdout


def compile_library(arguments: Sequence[str], made: Path, wait: Wait) -> None:
    """Run the compiler with these arguments to write the library `made`, tuned if it can.

    Its own temporary files lie in the folder of the library.
    Raises: CannotCompileError with what it said and the remedy; OSError; what the wait raises.
    """
    command = [compiler()[0], *arguments, "-o", str(made)]
    said = ""
    for tuning in (["-march=native"], []):
        code, said = _run([*command, *tuning], made.parent, wait)
        if code == 0:
            return
        remedy = _remedy(code, said)
        if remedy is not None:
            break
    remedy = remedy or "try another g++, 9 or newer, with CXX=PATH."
    end = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"failed (code {code})"
    raise CannotCompileError(
        f"{command[0]} {end}{_told(said)}\n{remedy.format(folder=made.parent.parent)}"
    )


def _remedy(code: int, said: str) -> str | None:
    """What to do about a cause that is the machine's; None if it is not."""
    found = (remedy for words, remedy in _CAUSES.items() if words.lower() in said.lower())
    return next(found, _MEMORY if code < 0 else None)


def _told(said: str) -> str:
    """The errors of a compiler; all that it said if it did not call anything an error."""
    lines = said.strip().splitlines()
    errors = [line for line in lines if "error" in line.lower() or line.startswith("/usr/bin/ld")]
    text = "\n".join(errors or lines)[:2000]
    return f":\n{text}" if text else ", without a word."


# ----------------------------------------------------------------------------------------- the wait
@contextmanager
def while_compiling(check: Callable[[], None]) -> Iterator[None]:
    """While entered, `check` is called many times a second when a kernel compiles.

    What it raises ends the compiler, leaves no file behind, and is raised where the kernel was
    asked for.
    """
    _CHECKS.append(check)
    try:
        yield
    finally:
        _CHECKS.remove(check)


class Wait:
    """A wait that hears the checks of while_compiling, and signals that would end this process.

    Such a signal does what it always does, but after the block was left, where its files are
    removed: not, for one, between the start of a compiler and the note of its number.
    """

    def __init__(self) -> None:
        self._ended_by: int | None = None
        self._replaced: dict[int, Any] = {}

    def __enter__(self) -> Wait:
        if threading.current_thread() is threading.main_thread():  # only there Python allows it
            for name in ("SIGTERM", "SIGHUP", "SIGINT"):  # SIGHUP is absent on Windows
                number = getattr(signal, name, None)
                before = None if number is None else signal.getsignal(number)
                if number is not None and before in (signal.SIG_DFL, signal.default_int_handler):
                    self._replaced[number] = signal.signal(number, self._note)
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._ended_by = number

    def a_moment(self, seconds: float = _LOOK) -> None:
        """Sleep, then look for signals. Raises: what a check raises; SystemExit after a signal."""
        time.sleep(seconds)
        self.look()

    def look(self) -> None:
        """a_moment without the sleep."""
        if self._ended_by is not None:
            raise SystemExit(128 + self._ended_by)
        for check in _CHECKS:
            check()

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._replaced.items():
            signal.signal(number, handler)
        if self._ended_by is not None:
            signal.raise_signal(self._ended_by)


def _run(command: Sequence[str], folder: Path, wait: Wait) -> tuple[int, str]:
    """The exit code of a command, -n after signal n, and what it said."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "TMPDIR": str(folder), "LC_ALL": "C"},
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        while True:
            try:
                said, _ = process.communicate(timeout=_LOOK)
                return process.returncode, said
            except subprocess.TimeoutExpired:
                wait.look()
    finally:
        if process.poll() is None:
            _end_group(process)


def _end_group(process: subprocess.Popen[str]) -> None:
    """End a compiler and the programs that it runs."""
    with suppress(OSError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    process.wait()
    if process.stdout is not None:
        process.stdout.close()
