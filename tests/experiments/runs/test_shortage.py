"""A run whose machine runs out of something says so, keeps what it has, and says how to resume."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

from experiments.data.reader import BatchReader
from experiments.training.trainer import Trainer
from tests.experiments.conftest import TINY, command


def the_run(folder: Path) -> Path:
    (path,) = (folder / "run").iterdir()
    return path


def test_memory_that_runs_out_in_a_step_leaves_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Trainer.compute_gradients

    def compute(self: Trainer, *arguments: Any, **options: Any) -> Any:
        if self.progress.step == 6:
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 9 bytes")
        return real(self, *arguments, **options)

    monkeypatch.setattr(Trainer, "compute_gradients", compute)
    options = [*TINY, "trainer.epochs=2", f"runs_dir={tmp_path}"]
    done = command(*options)
    path = the_run(tmp_path)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "error: memory has run out" in done.stderr and "trainer.accumulation" in done.stderr
    assert f"trainer.resume={path}" in done.stderr
    assert json.loads((path / "manifest.json").read_text())["status"] == "failed"
    monkeypatch.setattr(Trainer, "compute_gradients", real)
    assert command(*options, f"trainer.resume={path}").returncode == 0


def test_files_that_cannot_be_opened_between_two_steps_stop_where_it_is_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, read = BatchReader._read, []

    def refuse(self: BatchReader, key: Any) -> Any:
        read.append(key)
        if len(read) == 3:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), "image.png")
        return real(self, key)

    monkeypatch.setattr(BatchReader, "_read", refuse)
    done = command(*TINY, f"runs_dir={tmp_path}")
    path = the_run(tmp_path)
    assert done.returncode == 2 and "error: too many files are open" in done.stderr
    assert f"step 2 is saved. Resume with the same command and trainer.resume={path}" in done.stderr
    assert (path / "checkpoints" / "step-00000002").is_dir()


class BrokenTracker:
    def log(self, *arguments: Any, **options: Any) -> None:
        raise ConnectionError("the server is gone")

    def finish(self) -> None:
        raise ConnectionError("the server is gone")


@pytest.mark.parametrize("starts", [True, False])
def test_a_tracker_that_fails_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, starts: bool
) -> None:
    def start(*arguments: Any) -> BrokenTracker:
        if not starts:
            raise ConnectionError("no server")
        return BrokenTracker()

    monkeypatch.setattr("experiments.runs.trackers._start", start)
    done = command(*TINY, f"runs_dir={tmp_path}")
    path = the_run(tmp_path)
    status = json.loads((path / "manifest.json").read_text())["status"]
    if starts:
        assert done.returncode == 0 and (path / "test.json").exists() and status == "finished"
        assert done.stdout.count("the tracker has failed, and gets nothing more") == 1
    else:
        assert done.returncode == 2 and status == "failed" and "Traceback" not in done.stderr
        assert "tracker=local cannot be started: ConnectionError: no server" in done.stderr
