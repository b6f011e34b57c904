"""Runs a benchmark's measurements in a process of their own.

An allocator's settings and a number of threads hold for a whole process, and memory is counted by
process: so the process at the terminal measures nothing, and starts one worker per setting. A
worker reads its orders as JSON from its input and writes one JSON object per row to its output.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

from experiments.benchmarks.memory import map_every_block
from experiments.benchmarks.record import ROOT, Row, with_surroundings
from experiments.errors import UserError
from experiments.training.allocator import keep_large_allocations

MODES = ("default", "kept", "mapped")


def run_isolated(
    bench: str, measure: str, *, allocator: str = "kept", threads: int | None = None, **options: Any
) -> Iterator[Row]:
    """Yield the rows of `experiments.benchmarks.<bench>.<measure>(**options)`, each as it comes.

    allocator: "default" is the system's as it is, "kept" with `keep_large_allocations`, as runs
    of the platform have it, "mapped" with `map_every_block`, to measure memory.
    Raises: UserError with what the worker said if it fails.
    """
    orders = {"bench": bench, "measure": measure, "allocator": allocator, "options": options}
    environment = dict(os.environ)
    if threads is not None:
        environment["OMP_NUM_THREADS"] = str(threads)
    process = subprocess.Popen(
        [sys.executable, "-m", "experiments.benchmarks.worker", json.dumps(orders)],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if line.startswith("{"):
                yield Row(**json.loads(line))
        _, errors = process.communicate()
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()
    if process.returncode:
        raise UserError(
            f"{bench}.{measure} with the {allocator} allocator ended with code "
            f"{process.returncode}:\n{errors.strip()[-2000:]}"
        )


def use_allocator(name: str) -> str:
    """Apply one of MODES to this process, before it allocates anything large.

    Returns the mode that then holds: "kept" is "default" where only glibc's malloc could.
    Raises: DataError for "mapped" off Linux with glibc.
    """
    if name == "mapped":
        map_every_block()
    if name == "kept" and not keep_large_allocations():
        return "default"
    return name


def measure(orders: dict[str, Any]) -> Iterator[Row]:
    """The rows that `run_isolated` asked for, measured in this process."""
    module = importlib.import_module(f"experiments.benchmarks.{orders['bench']}")
    function: Callable[..., Iterator[Row]] = getattr(module, orders["measure"])
    for row in function(**orders["options"]):
        yield with_surroundings(row, orders["allocator"])


def main() -> None:
    orders = json.loads(sys.argv[1])
    try:
        orders["allocator"] = use_allocator(orders["allocator"])
        for row in measure(orders):
            print(json.dumps(asdict(row)), flush=True)
    except UserError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from error


if __name__ == "__main__":
    main()
