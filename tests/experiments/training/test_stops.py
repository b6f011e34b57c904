"""What stops a run from outside, and how it goes on: images, workers, killed writers, clocks."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from experiments.data import reader
from experiments.errors import DataError
from experiments.files import read_rows
from experiments.runs import directory
from experiments.runs.ending import Result
from experiments.training.checkpoint import CheckpointStore
from experiments.training.trainer import Trainer
from tests import forks
from tests.experiments.conftest import TINY, command
from tests.experiments.runs.side_by_side import process, side_by_side
from tests.experiments.training.test_checkpoint import some_checkpoint

Run = Callable[..., Result]


# ------------------------------------------------------------------------------------------ images
# As many training, validation and test images.
TRAINING = pytest.param(1294, marks=pytest.mark.slow)


@pytest.mark.parametrize("split", [TRAINING, 144, 359])
def test_an_image_that_was_mended_leaves_no_trace(
    tiny_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, split: int
) -> None:
    whole = tiny_run("name=whole", "trainer.epochs=2", "scheduler=cosine")
    read, epochs = reader.BatchReader._read, []

    def broken(self: reader.BatchReader, key: reader.BatchKey) -> object:
        if len(self.dataset) == split:
            epochs.append(key.epoch)
            if len(epochs) > 1:
                raise DataError("cannot read the image a.png")
        return read(self, key)

    monkeypatch.setattr(reader.BatchReader, "_read", broken)
    options = ("trainer.epochs=2", "scheduler=cosine", "trainer.evaluation_batch_size=512")
    if split == 359:
        epochs.append(0)
    with pytest.raises(DataError, match=r"a\.png"):
        tiny_run(*options)
    monkeypatch.undo()
    again = tiny_run(*options, "trainer.resume=auto")
    for name in ("metrics.jsonl", "best.safetensors"):
        assert (again.run_dir / name).read_bytes() == (whole.run_dir / name).read_bytes(), name
    rates = [row["lr"] for row in read_rows(again.run_dir / "metrics.jsonl") if "lr" in row]
    assert len(rates) == 2 and min(rates) > 0


def test_a_killed_worker_is_a_message_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = Trainer.train_step

    def without_workers(self: Trainer, batches: object) -> object:
        if self.progress.step == 2:
            workers = self.train_loader._batches._loader._iterator._workers
            for worker in workers:
                os.kill(worker.pid, signal.SIGKILL)
            until = time.monotonic() + 60
            while any(w.is_alive() for w in workers) and time.monotonic() < until:
                time.sleep(0.01)
        return step(self, batches)  # type: ignore[arg-type]

    monkeypatch.setattr(Trainer, "train_step", without_workers)
    options = [*TINY, f"runs_dir={tmp_path}", "data.workers=1", "trainer.limit_steps=12"]
    done = command(*options)
    assert done.returncode == 2, done.stderr
    assert "a process that reads images ended" in done.stderr and "is saved" in done.stderr
    assert "Traceback" not in done.stderr
    monkeypatch.undo()
    assert command(*options, "trainer.resume=auto").returncode == 0


# --------------------------------------------------------------------------------------- compilers
IN_COMPILER = """
import os, pathlib, signal, threading, time
def stop():
    while not pathlib.Path({file!r}).exists():
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGTERM)
threading.Thread(target=stop, daemon=True).start()
"""


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_compiler_is_not_waited_for_before_the_first_step_is_done(
    tmp_path: Path, ranks: int
) -> None:
    """It would have slept for longer than any test may last."""
    compiler, pids, cache = tmp_path / "g++", tmp_path / "pids", tmp_path / "cache"
    compiler.write_text(
        '#!/bin/sh\ncase "$*" in *--version*) echo 1; exit;; esac\n'
        f"sleep 6000 & echo $$ $! > {pids}.new; mv {pids}.new {pids}; wait\n"
    )
    compiler.chmod(0o755)
    options = [*TINY, f"runs_dir={tmp_path}", "trainer.batch_size=512", "data.workers=1"]
    ((*ended,),) = side_by_side([
        process(*options, before=IN_COMPILER.format(file=str(pids)), ranks=ranks,
                CXX=str(compiler), XDG_CACHE_HOME=str(cache)),
    ])  # fmt: skip
    assert [e.code for e in ended] == [128 + signal.SIGTERM] * ranks, ended[0].output
    assert "stopped on request; its first step was not done. There is no checkpoint yet" in (
        ended[0].output
    )
    assert not any("Traceback" in e.output for e in ended)
    assert list((cache / "conv_kan").iterdir()) == []
    assert not any(forks.is_alive(int(word)) for word in pids.read_text().split())
    (run,) = (tmp_path / "run").iterdir()
    assert json.loads((run / "manifest.json").read_text())["status"] == "interrupted"


# --------------------------------------------------------------------------------- killed writers
@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    store = CheckpointStore(tmp_path / "checkpoints", "id")
    store.write(10, some_checkpoint(1.0), keep_last=1)
    return store


class Killed(BaseException):
    """As SIGKILL: what follows is not done."""


@pytest.mark.parametrize("calls", [1, 2])
def test_a_step_that_is_written_again_is_there_all_the_time(
    store: CheckpointStore, monkeypatch: pytest.MonkeyPatch, calls: int
) -> None:
    """Killed before the first or the second rename of the folders."""
    replace, seen = os.replace, []

    def killed(source: Path, target: Path) -> None:
        if Path(source).is_dir():
            seen.append(source)
            if len(seen) == calls:
                raise Killed
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", killed)
        patch.setattr(shutil, "rmtree", lambda *a, **k: None)
        patch.setattr(CheckpointStore, "tidy", lambda self: None)
        with pytest.raises(Killed):
            store.write(10, some_checkpoint(2.0), keep_last=1)
    store.tidy()
    assert [p.name for p in store.root.iterdir()] == ["step-00000010"]
    assert float(store.load(store.path(10)).model["w"][0, 0]) == 1.0


def test_what_killed_writers_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "checkpoints" / ".tmp-step-00000007").mkdir(parents=True)
    (run / "curves.png").touch()
    left = [".config.123.yaml", ".best.4.safetensors", ".metrics.77.jsonl", ".curves.9.png"]
    kept = [".notes.12.txt", ".config.yaml", ".config.old.yaml", "config.123.yaml", ".hidden"]
    for name in left + kept:
        (run / name).touch()
    directory.RunDirectory(run).tidy()
    assert {p.name for p in run.iterdir()} == {*kept, "curves.png", "checkpoints"}
    assert not list((run / "checkpoints").iterdir())


# --------------------------------------------------------------------------------------- the newest
def stop_at(step: int, monkeypatch: pytest.MonkeyPatch, *options: str) -> None:
    def stopped(self: Trainer, batches: object) -> object:
        if self.progress.step == step:
            os.kill(os.getpid(), signal.SIGTERM)
        return train_step(self, batches)  # type: ignore[arg-type]

    train_step = Trainer.train_step
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "train_step", stopped)
        assert command(*options).returncode == 128 + signal.SIGTERM


def test_auto_takes_the_newest_whatever_the_clock_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = [*TINY, f"runs_dir={tmp_path}"]
    paths = []
    for year in (2031, 2026):  # set back in between

        class Clock(directory.datetime):
            @classmethod
            def now(cls) -> directory.datetime:  # type: ignore[override]
                return cls(year, 1, 1)  # noqa: B023

        with monkeypatch.context() as patch:
            patch.setattr(directory, "datetime", Clock)
            stop_at(1, monkeypatch, *options)
        (path,) = (tmp_path / "run").glob(f"{year}*")
        paths.append(path)
    numbers = [json.loads((p / "manifest.json").read_text())["number"] for p in paths]
    assert numbers == [1, 2]
    damaged = tmp_path / "run" / "2040-damaged"
    shutil.copytree(paths[1], damaged)
    (damaged / "config.yaml").write_text("a: [")
    odd = tmp_path / "run" / "2041-odd"
    shutil.copytree(paths[1], odd)
    (odd / "config.yaml").write_text("- 3")
    done = command(*options, "trainer.resume=auto")
    assert done.returncode == 0, done.stderr
    assert f"resumed from {paths[1]}" in done.stdout
    for path in (damaged, odd):
        assert f"passes over {path}: cannot read {path}/config.yaml" in done.stdout
    assert f"resumed from {paths[0]}" in command(*options, "trainer.resume=auto").stdout
