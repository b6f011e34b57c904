"""Runs cifar.py in several processes at once, each a fork of one imported interpreter.

    python tests/experiments/runs/side_by_side.py < stages.json

Input: a list of stages, one after the other; a stage is a list of processes that start together,
each {"arguments": [...], "before": Python code to run first, "environment": {...}, "ranks": n}.
With ranks n it is n processes of one launch. Prints one JSON line per stage: a list of
{"code": exit code, or -n after signal n, "output": what it printed}, one for each process.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
LIMIT = 240.0  # seconds after which a process has hung


@dataclass
class Ended:
    code: int
    output: str


def process(*arguments: str, before: str = "", ranks: int = 1, **environment: str) -> dict:
    return {"arguments": arguments, "before": before, "ranks": ranks, "environment": environment}


def side_by_side(*stages: list[dict]) -> list[list[Ended]]:
    """Run the stages; one result for each process of each stage."""
    done = subprocess.run(
        [sys.executable, __file__],
        input=json.dumps(stages),
        env={**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "1"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=580,
    )
    assert done.returncode == 0, done.stderr
    return [[Ended(**e) for e in json.loads(line)] for line in done.stdout.splitlines()]


# --------------------------------------------------------------------- in the other interpreter
def fork(command: dict, output: Path) -> int:
    child = os.fork()
    if child:
        return child
    os.setpgid(0, 0)
    handle = os.open(output, os.O_WRONLY | os.O_CREAT)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.environ.update(command["environment"])
    sys.argv = ["cifar.py", *command["arguments"]]
    code = 0
    try:
        exec(command["before"], {})
        launch("cifar")
    except SystemExit as stop:
        code = int(stop.code or 0)
    except BaseException as error:
        print(repr(error), file=sys.stderr)
        code = 1
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def run(stage: list[dict], folder: Path) -> list[dict]:
    commands = [rank for command in stage for rank in ranks_of(command)]
    outputs = [folder / f"{i}.txt" for i in range(len(commands))]
    alive = {fork(command, outputs[i]): i for i, command in enumerate(commands)}
    codes, deadline = [0] * len(commands), time.monotonic() + LIMIT
    while alive:
        child, status = os.waitpid(-1, os.WNOHANG)
        if child:
            codes[alive.pop(child)] = os.waitstatus_to_exitcode(status)
        elif time.monotonic() > deadline:
            for other in alive:
                os.killpg(other, 9)
        else:
            time.sleep(0.02)
    results = [{"code": c, "output": o.read_text()} for c, o in zip(codes, outputs, strict=True)]
    for output in outputs:
        output.unlink()
    return results


def ranks_of(command: dict) -> list[dict]:
    if command["ranks"] == 1:
        return [command]
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = str(probe.getsockname()[1])
    common = {"WORLD_SIZE": str(command["ranks"]), "LOCAL_WORLD_SIZE": str(command["ranks"]),
              "MASTER_ADDR": "localhost", "MASTER_PORT": port}  # fmt: skip
    return [
        command | {"environment": command["environment"] | common
                   | {"RANK": str(rank), "LOCAL_RANK": str(rank)}}
        for rank in range(command["ranks"])
    ]  # fmt: skip


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    from experiments.app import launch

    with tempfile.TemporaryDirectory() as folder:
        for stage in json.load(sys.stdin):
            print(json.dumps(run(stage, Path(folder))), flush=True)
