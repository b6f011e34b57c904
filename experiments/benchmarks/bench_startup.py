"""How long a person waits: for an import, for help, for the first training step."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from experiments.benchmarks.harness import Effort, interleave
from experiments.benchmarks.record import ROOT, Row, timed_rows
from experiments.benchmarks.worker import run_isolated
from experiments.errors import UserError

BENCH = "bench_startup"
FIRST_STEP = [
    "cifar.py", "data=digits", "model=simple_conv_kagn", "augment=none", "trainer.epochs=1",
    "trainer.limit_steps=1", "trainer.progress=false", "name=startup",
]  # fmt: skip


def run(short: bool) -> Iterator[Row]:
    """Each command in a fresh process; `import torch` is what none of them can go below."""
    effort = {"seconds": 0.0, "min_rounds": 2 if short else 5, "warm_up": 1}
    yield from run_isolated(BENCH, "commands", effort=effort)


def commands(effort: dict[str, Any]) -> Iterator[Row]:
    """Wall time from the start of a process to its end, or to the end of its first step."""
    providers: dict[str, Callable[[], object]] = {
        "import torch": lambda: _run("-c", "import torch"),
        "import conv_kan": lambda: _run("-c", "import conv_kan"),
        "cifar.py --help": lambda: _run("cifar.py", "--help"),
    }
    samples = interleave(providers, Effort(**effort))
    samples["first step"] = [_seconds_to_first_step() for _ in samples["import torch"]]
    yield from timed_rows(
        samples, baseline="import torch", bench=BENCH, case="command line", metric="wall time [s]"
    )


def _seconds_to_first_step() -> float:
    """From the start of a training run to the end of its first step, by its timing.jsonl."""
    with TemporaryDirectory() as directory:
        started = time.time()
        _run(*FIRST_STEP, f"runs_dir={directory}")
        (timing,) = Path(directory).rglob("timing.jsonl")
        return float(json.loads(timing.read_text().splitlines()[0])["finished"]) - started


def _run(*arguments: str) -> None:
    """Run Python from the root of the repository. Raises: UserError with what it printed."""
    done = subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise UserError(
            f"python {' '.join(arguments)} ended with code {done.returncode}:\n"
            f"{done.stderr.strip()[-1000:]}"
        )
