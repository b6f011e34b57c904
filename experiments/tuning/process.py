"""A trial's process: a group of its own, that ends with the process that started it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

PATIENCE = 60.0  # seconds for a process to save and end, once it is asked to
# Reads until its input ends, as it does with the process that holds the other end, however that
# ends; then nobody is left to end the group.
WATCH = 'read _; kill -s KILL -- "-$1"'


class Child:
    """`command`, in a process group of its own, its output appended to a log."""

    def __init__(
        self, command: Sequence[str], cwd: Path, environment: Mapping[str, str], log: Path,
        launched: bool = False,
    ) -> None:  # fmt: skip
        self.started, self.launched = time.monotonic(), launched
        with open(log, "ab") as output:
            self.log_from = output.tell()
            self.log = log
            self.process = subprocess.Popen(
                command, cwd=cwd, env=dict(environment), stdin=subprocess.DEVNULL, stdout=output,
                stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        self._watch = subprocess.Popen(
            ["/bin/sh", "-c", WATCH, "watch", str(self.process.pid)], stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    def poll(self) -> int | None:
        """The exit code, -n after signal n; None while it runs."""
        code = self.process.poll()
        if code is not None:
            self._release()
        return code

    def end(self, patience: float = PATIENCE) -> int:
        """Ask it to save and end, and end it; its exit code."""
        self._signal(signal.SIGTERM)
        try:
            self.process.wait(patience)
        except subprocess.TimeoutExpired:
            return self.kill()
        return self._reap()

    def kill(self) -> int:
        """End it and all that it has started, at once."""
        self._signal(signal.SIGKILL)
        self.process.wait()
        return self._reap()

    def said(self) -> str:
        """What it has printed."""
        with open(self.log, "rb") as file:
            file.seek(self.log_from)
            return file.read().decode(errors="replace")

    def _signal(self, number: int) -> None:
        """To the group at the end, or past a launcher, which hands no signal on.

        To the process alone where it is to save: its group has workers that it ends itself.
        """
        with suppress(ProcessLookupError, PermissionError):
            if number == signal.SIGKILL or self.launched:
                os.killpg(self.process.pid, number)
            else:
                self.process.send_signal(number)

    def _reap(self) -> int:
        with suppress(ProcessLookupError, PermissionError):  # what it has left behind
            os.killpg(self.process.pid, signal.SIGKILL)
        self._release()
        return int(self.process.returncode)

    def _release(self) -> None:
        """The watch has nothing left to watch: the number of the group may be given anew."""
        if self._watch.poll() is None:
            self._watch.kill()
        self._watch.wait()
        if self._watch.stdin is not None:
            self._watch.stdin.close()


def path_override(key: str, path: Path | str) -> str:
    """KEY=PATH as an override: in quotes where it has signs of another meaning there."""
    text = str(path)
    if re.fullmatch(r"[\w./-]+", text, re.ASCII):
        return f"{key}={text}"
    escaped = re.sub(r"(\\*)'", r"\1\1\'", text)
    return f"{key}='{escaped}'"


def entry_command(script: str, processes: int, gpus: float) -> list[str]:
    """How a run of an entry script begins: by itself, or by a launcher of several processes."""
    if processes == 1:
        return [sys.executable, script]
    if gpus:
        launch = ["accelerate.commands.launch", "--quiet", "--multi_gpu", "--mixed_precision", "no"]
        ports = ["--main_process_port", "0"]
        return [sys.executable, "-m", *launch, "--num_processes", str(processes), *ports, script]
    launch = ["torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    return [sys.executable, "-m", *launch, script]


def environment(own: Mapping[str, str | None], processes: int, gpus: float) -> dict[str, str]:
    """The environment of a trial: this process's, with the variables of whoever began the search.

    Ray sets some for its workers, of which a rerun outside knows nothing.
    """
    found = dict(os.environ)
    for name, value in own.items():
        found.pop(name, None)
        if value is not None:
            found[name] = value
    if processes > 1 and not gpus:
        found["ACCELERATE_USE_CPU"] = "1"
    return found
