"""Runs Python command lines in forks of one imported interpreter: imports cost seconds each time.

    (done,) = run("cifar.py", "data=digits")
    first, second = run("-c", "import torch; ...", processes=2)
    (one,), (other,) = run_together(Command(["cifar.py", ...]), Command(["cifar.py", ...]))

A command meets what a fresh `python ...` in the root of the repository would: its arguments, its
environment, its standard streams, and the end of its interpreter. Several processes are the ranks
of one launch, as torchrun numbers them: where a signal ends one, the others are killed. Each
pytest process has one such interpreter, which starts with the first command. It has no threads and
does no arithmetic, so that its forks are sound.
"""

from __future__ import annotations

import atexit
import functools
import gc
import json
import os
import random
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LIMIT = 600.0  # seconds after which a command has hung; no test may depend on it


@dataclass
class Ended:
    """How a command ended: its exit code (-n after signal n) and what it printed."""

    returncode: int
    stdout: str
    stderr: str


@dataclass
class Command:
    """`python *arguments`, in each of `processes` ranks of one launch, killed after the limit."""

    arguments: Sequence[str]
    processes: int = 1
    environment: dict[str, str] = field(default_factory=dict)
    limit: float = LIMIT


def run(*arguments: str, processes: int = 1, **environment: str) -> list[Ended]:
    """Run `python *arguments` in each of the processes; one result per rank."""
    return run_together(Command(arguments, processes, environment))[0]


def run_together(*commands: Command) -> list[list[Ended]]:
    """Run commands that start at the same time; for each of them one result per rank."""
    server = _server()
    assert server.stdin and server.stdout
    common = {**os.environ, "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as folder:
        whole = [replace(c, environment={**common, **c.environment}) for c in commands]
        request = {"folder": folder, "commands": [asdict(command) for command in whole]}
        print(json.dumps(request), file=server.stdin, flush=True)
        answer = server.stdout.readline()
        assert answer, f"the interpreter that forks ended with code {server.wait()}"
        return [
            [
                Ended(code, *(_output(folder, launch, rank, s).read_text() for s in (1, 2)))
                for rank, code in enumerate(codes)
            ]
            for launch, codes in enumerate(json.loads(answer))
        ]


def is_alive(process: int) -> bool:
    """Whether a process runs; one that has ended and was not waited for does not."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


@functools.cache
def _server() -> subprocess.Popen[str]:
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.forks"],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    atexit.register(server.communicate)  # closes its input, at whose end it ends
    return server


def _output(folder: str, launch: int, rank: int, stream: int) -> Path:
    return Path(folder, f"{launch}.{rank}.{stream}")


# --------------------------------------------------------------------- in the other interpreter
def serve() -> list[str] | None:
    """Answer requests to their end. In a fork: the arguments of the command that it is to run."""
    for line in sys.stdin:
        request = json.loads(line)
        folder, alive, codes = request["folder"], {}, []
        for launch, command in enumerate(request["commands"]):
            port = _free_port()
            codes.append([0] * command["processes"])
            for rank in range(command["processes"]):
                child = os.fork()
                if not child:
                    _become(command, rank, port, [_output(folder, launch, rank, s) for s in (1, 2)])
                    return command["arguments"]
                alive[child] = launch, rank
        _wait(alive, codes, [command["limit"] for command in request["commands"]])
        print(json.dumps(codes), flush=True)
    return None


def _free_port() -> int:
    """Below the ports that the system hands out, one of which another process may be given."""
    while True:
        port = random.SystemRandom().randrange(20_000, 32_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("localhost", port))
            return port


def _become(command: dict, rank: int, port: int, outputs: list[Path]) -> None:
    """Give this fork the streams, the environment and the process group of its command."""
    os.setpgid(0, 0)
    for number, path in enumerate([os.devnull, *outputs]):
        handle = os.open(path, os.O_RDWR | os.O_CREAT)
        os.dup2(handle, number)
        os.close(handle)
    os.environ.clear()
    os.environ.update(command["environment"])
    count = str(command["processes"])
    if count != "1":
        os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=count)
        os.environ.update(LOCAL_WORLD_SIZE=count, MASTER_ADDR="localhost", MASTER_PORT=str(port))


def _wait(alive: dict[int, tuple[int, int]], codes: list[list[int]], limits: list[float]) -> None:
    """Note the exit code of each rank of each launch, until all have ended."""
    started = time.monotonic()
    lost: set[int] = set()  # launches of which a signal has ended a rank
    while alive:
        child, status = os.waitpid(-1, os.WNOHANG)
        if child:
            launch, rank = alive.pop(child)
            code = codes[launch][rank] = os.waitstatus_to_exitcode(status)
            _kill(child)  # what it has left behind: processes that read images
            lost |= {launch} if code < 0 else set()
        else:
            passed = time.monotonic() - started
            for other, (launch, _) in alive.items():
                if passed > limits[launch] or launch in lost:
                    _kill(other)
        time.sleep(0.01)


def _kill(group: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def execute(arguments: list[str]) -> None:
    """`python *arguments`: -c code, -m module or a path, and what follows as sys.argv."""
    kind, *rest = arguments
    if kind == "-c":
        sys.argv = ["-c", *rest[1:]]
        exec(compile(rest[0], "<string>", "exec"), {"__name__": "__main__"})
    elif kind == "-m":
        sys.argv = rest
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv = arguments
        sys.path.insert(0, str(Path(kind).resolve().parent))
        runpy.run_path(kind, run_name="__main__")


if __name__ == "__main__":
    import experiments.runs.prepare  # noqa: F401 - what nearly every command imports, for all of them

    # Whoever runs the tests may ignore them (nohup, a shell's background), which children inherit.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    gc.collect()
    gc.freeze()  # forks would copy every page of these objects to look for garbage at their end
    command = serve()
    if command is not None:
        execute(command)
