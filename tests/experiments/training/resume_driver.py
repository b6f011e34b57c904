"""Runs cifar.py several times in forked processes and kills some of them in the middle of a step.

    python tests/experiments/training/resume_driver.py '[{"arguments": [...], "processes": 2,
                                                 "kill": [7, 1, 0, 9]}, ...]'

`kill` is [step, micro-batch, rank, signal]. Prints one JSON line per launch: exit codes and what
the first process printed. Forking saves the seconds that each fresh interpreter needs to import.
"""

from __future__ import annotations

import json
import math
import os
import signal
import socket
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from experiments.app import launch
from experiments.runs.session import Trainer

GRACE = 30.0  # seconds for the others after a process that ended by itself, but not well


def kill_in_the_middle_of(step: int, micro_batch: int, number: int) -> None:
    """Make Trainer.record send a signal to this process at one micro-batch of one step."""
    record, seen = Trainer.record, {"micro": 0, "step": -1}

    def record_or_die(self: Trainer, *arguments: object) -> None:
        if seen["step"] != self.progress.step:
            seen.update(step=self.progress.step, micro=0)
        if self.progress.step == step and seen["micro"] == micro_batch:
            os.kill(os.getpid(), number)
        seen["micro"] += 1
        record(self, *arguments)  # type: ignore[arg-type]

    Trainer.record = record_or_die  # type: ignore[method-assign]


def fork(rank: int, spec: dict, port: int, output: Path) -> int:
    """Start one process of a launch; return its id."""
    child = os.fork()
    if child:
        return child
    os.setpgid(0, 0)  # its data workers end with it
    handle = os.open(output, os.O_WRONLY | os.O_CREAT)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    if spec["processes"] > 1:
        os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), MASTER_ADDR="localhost",
                          WORLD_SIZE=str(spec["processes"]), MASTER_PORT=str(port),
                          LOCAL_WORLD_SIZE=str(spec["processes"]))  # fmt: skip
    step, micro_batch, victim, number = spec.get("kill", [-1, 0, 0, signal.SIGKILL])
    if rank == victim:
        kill_in_the_middle_of(step, micro_batch, number)
    sys.argv = ["cifar.py", *spec["arguments"]]
    code = 0
    try:
        launch("cifar")
    except SystemExit as stop:
        code = int(stop.code or 0)
    except BaseException as error:
        print(repr(error), file=sys.stderr)
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def run(spec: dict, folder: Path) -> dict:
    """One launch: as under torchrun, one process that ends badly takes the others with it.

    Those have a moment to end by themselves, which they do where all received a request to stop.
    """
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    outputs = [folder / f"{rank}.txt" for rank in range(spec["processes"])]
    for output in outputs:
        output.unlink(missing_ok=True)
    alive = {fork(rank, spec, port, outputs[rank]) for rank in range(spec["processes"])}
    codes = []
    deadline = math.inf
    while alive:
        child, status = os.waitpid(-1, os.WNOHANG)
        if child:
            alive.discard(child)
            codes.append(os.waitstatus_to_exitcode(status))
            if codes[-1]:
                deadline = time.monotonic() + (GRACE if codes[-1] > 0 else 0)
        elif time.monotonic() > deadline:
            for other in alive:
                os.killpg(other, signal.SIGKILL)
            deadline = math.inf
        else:
            time.sleep(0.02)
    return {"codes": codes, "output": outputs[0].read_text()}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        for spec in json.loads(sys.argv[1]):
            print(json.dumps(run(spec, Path(folder))), flush=True)
