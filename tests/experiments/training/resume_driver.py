"""Runs cifar.py and sends a signal to one process in the middle of a step.

    python tests/experiments/training/resume_driver.py '[7, 1, 0, 9]' model=...

The first argument is [step, micro-batch, rank, signal].
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from experiments.app import launch
from experiments.training.trainer import Trainer


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


def kill_from_arguments(arguments: list[str]) -> None:
    """Take [step, micro-batch, rank, signal] from the arguments, if it is the first of them."""
    if not arguments[1].startswith("["):
        return
    step, micro_batch, victim, number = json.loads(arguments.pop(1))
    if victim == int(os.environ.get("RANK", "0")):
        kill_in_the_middle_of(step, micro_batch, number)


if __name__ == "__main__":
    kill_from_arguments(sys.argv)
    launch("cifar")
