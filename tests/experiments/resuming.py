"""A run that is taken up at a checkpoint, beside the one that was never stopped."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from experiments.runs.ending import Result


def assert_same_files(one: Path, other: Path) -> None:
    """Assert that two runs have written the same rows, results and weights."""
    for name in ("metrics.jsonl", "test.json", "best.safetensors"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


def resume_at(step: int, go: Callable[..., Result], folder: Path, options: Sequence[str]) -> None:
    """Assert that a copy of a run, taken up at a checkpoint of that step, ends with its files.

    go(folder, *overrides) trains a run.
    """
    whole = go(folder / "whole", *options)
    shutil.copytree(whole.run_dir, folder / "again")
    checkpoint = folder / "again" / "checkpoints" / f"step-{step:08d}"
    again = go(folder, *options, f"trainer.resume={checkpoint}")
    assert_same_files(again.run_dir, whole.run_dir)
