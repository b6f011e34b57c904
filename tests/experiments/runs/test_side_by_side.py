"""Runs that meet: in one second, in one directory, in one pair of processes."""

from __future__ import annotations

import errno
import json
import pkgutil
from pathlib import Path

import pytest

from experiments.files import read_rows
from tests.experiments.conftest import TINY, command
from tests.experiments.runs.side_by_side import process, side_by_side

# Stop in the middle of an epoch, as a killed process does; or wait there for a file.
KILL = """
import os, signal
from experiments.training.trainer import Trainer
step = Trainer.train_step
def killed(self, batches):
    if self.progress.step == 6:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(self, batches)
Trainer.train_step = killed
"""
ONE_SECOND = """
import experiments.runs.directory as module
class Clock(module.datetime):
    @classmethod
    def now(cls): return cls(2026, 1, 1)
module.datetime = Clock
"""
WAIT = """
import pathlib, time
from experiments.training.trainer import Trainer
step = Trainer.train_step
def waiting(self, batches):
    if self.progress.step == 7:
        pathlib.Path({here!r}).touch()
        while not pathlib.Path({go!r}).exists():
            time.sleep(0.02)
    return step(self, batches)
Trainer.train_step = waiting
"""
MEET = """
import pathlib, time
import experiments.runs.session as module
run = module.Session.run
def later(self, *arguments):
    result = run(self, *arguments)
    pathlib.Path({go!r}).touch()
    return result
module.Session.run = later
while not pathlib.Path({here!r}).exists():
    time.sleep(0.02)
"""


def runs_of(folder: Path) -> list[Path]:
    return sorted((folder / "run").iterdir())


def rows_of(run: Path) -> list[tuple[str, int]]:
    return [(row["split"], row["epoch"]) for row in read_rows(run / "metrics.jsonl")]


EPOCHS = [(split, epoch) for epoch in (1, 2) for split in ("train", "validation")]


@pytest.mark.slow
def test_three_that_start_in_one_second_have_three_directories(tmp_path: Path) -> None:
    options = [*TINY, f"runs_dir={tmp_path}", "trainer.epochs=2"]
    (ended,) = side_by_side([process(*options, before=ONE_SECOND) for _ in range(3)])
    assert [e.code for e in ended] == [0, 0, 0], ended
    runs = runs_of(tmp_path)
    name = "2026-01-01_00-00-00-seed0"
    assert [run.name for run in runs] == [name, f"{name}-2", f"{name}-3"]
    assert all(rows_of(run) == EPOCHS for run in runs)
    assert not list(tmp_path.rglob("lock.json"))


@pytest.mark.parametrize("way", [pytest.param("auto", marks=pytest.mark.slow), "path"])
def test_a_run_that_is_being_trained_is_left_alone(tmp_path: Path, way: str) -> None:
    options = [*TINY, f"runs_dir={tmp_path}/runs", "trainer.epochs=2"]
    files = {"here": str(tmp_path / "here"), "go": str(tmp_path / "go")}
    killed, ended = side_by_side([process(*options, before=KILL)], [
        process(*options, "trainer.resume=auto", before=WAIT.format(**files)),
        process(*options, f"trainer.resume={way}", before=MEET.format(**files)
                if way == "auto" else PATH.format(runs=str(tmp_path / "runs"), **files)),
    ])  # fmt: skip
    assert killed[0].code == -9, killed
    first, second = ended
    assert first.code == 0, first.output
    run, *others = runs_of(tmp_path / "runs")
    assert f"resumed from {run}" in first.output and rows_of(run) == EPOCHS
    assert f"{run} is being trained by process " in second.output
    assert "since 20" in second.output
    if way == "auto":
        (other,) = others
        assert second.code == 0 and rows_of(other) == EPOCHS
    else:
        assert second.code == 2 and not others


PATH = """
import pathlib, sys, time
while not pathlib.Path({here!r}).exists():
    time.sleep(0.02)
(run,) = pathlib.Path({runs!r}, "run").iterdir()
sys.argv[-1] = f"trainer.resume={{run}}"
import atexit
atexit.register(pathlib.Path({go!r}).touch)
"""


@pytest.mark.slow
def test_a_line_search_decides_alike_on_two_processes(tmp_path: Path) -> None:
    # Few evaluations: a line search makes large differences of roundings.
    options = [*TINY, "model.norm=instance", "optimizer=lbfgs", "optimizer.max_iter=4",
               "trainer.limit_steps=2", "trainer.cpu=true"]  # fmt: skip
    show = """
import hashlib
from experiments.training.trainer import Trainer
finish = Trainer.finish_epoch
def shown(self):
    finish(self)
    for name, tensor in self.module.state_dict().items():
        print("weights", name, hashlib.sha256(tensor.numpy().tobytes()).hexdigest(), flush=True)
Trainer.finish_epoch = shown
"""
    one, two = side_by_side(
        [process(*options, f"runs_dir={tmp_path}/one")],
        [process(*options, f"runs_dir={tmp_path}/two", ranks=2, before=show)],
    )
    assert [e.code for e in one + two] == [0, 0, 0], (one, two)
    lines = [[x for x in e.output.splitlines() if x.startswith("weights ")] for e in two]
    assert lines[0] == lines[1] and lines[0]
    rows = [read_rows(runs_of(tmp_path / name)[0] / "metrics.jsonl") for name in ("one", "two")]
    for a, b in zip(*rows, strict=True):
        assert b["loss"] == pytest.approx(a["loss"], rel=1e-3)


@pytest.mark.slow
def test_an_image_that_only_the_second_process_reads_is_named(tmp_path: Path) -> None:
    """In training, which is saved where it stands; in the test, after all training."""
    broken = """
from experiments.data.containers import TensorImages
from experiments.data import reader
from experiments.errors import DataError
import os
read = reader.BatchReader._read
def broken(self, key):
    count = len(self.dataset)
    if count == {count} and 1 in list(key.samples):
        raise DataError("cannot read the image number-one.png")
    return read(self, key)
reader.BatchReader._read = broken
"""
    options = [*TINY, f"runs_dir={tmp_path}", "trainer.limit_steps=null", "trainer.cpu=true"]
    training, testing = side_by_side(
        [process(*options, ranks=2, before=broken.format(count=1294))],
        [process(*options, ranks=2, before=broken.format(count=359))],
    )
    for ended in (training, testing):
        assert [e.code for e in ended] == [2, 2], ended
        assert "number-one.png" in ended[0].output and "Traceback" not in ended[1].output
    first, _ = runs_of(tmp_path)
    assert "is saved" in training[0].output and list((first / "checkpoints").iterdir())
    assert json.loads((first / "manifest.json").read_text())["status"] == "failed"


# A full disk that one function of the first process meets, wherever it is that it is called.
FULL = """
import errno, importlib, os
def full(*arguments, **options):
    raise OSError(errno.ENOSPC, "No space left on device")
if os.environ["RANK"] == "0":
    setattr(importlib.import_module({module!r}), {name!r}, full)
"""


def test_a_full_disk_is_a_message_on_all_processes(tmp_path: Path) -> None:
    """Only the first one writes; no other is left behind in what all of them do together."""
    options = [*TINY, "trainer.limit_steps=1", "trainer.cpu=true", f"runs_dir={tmp_path}"]
    places = {
        ("experiments.runs.setup", "write_json"): "the disk is full",
        ("experiments.runs.tracking", "append_line"): "the disk is full",
    }
    runs = [process(*options, before=FULL.format(module=m, name=n), ranks=2) for m, n in places]
    (ended,) = side_by_side(runs)
    for (place, words), one, two in zip(places.items(), ended[::2], ended[1::2], strict=True):
        assert (one.code, two.code) == (2, 2), (place, one.output, two.output)
        assert words in one.output and "No space left on device" in one.output, one.output
        assert "Traceback" not in one.output + two.output, (place, two.output)


@pytest.mark.parametrize(
    ("module", "name", "words"),
    [
        ("experiments.runs.lock", "os.ftruncate", "cannot write"),
        ("experiments.training.checkpoint", "CheckpointStore._write_files", "cannot write check"),
        ("experiments.runs.ending", "write_json", "the disk is full"),
    ],
)
def test_a_full_disk_is_a_message_wherever_it_is_met(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, name: str, words: str
) -> None:
    owner, _, last = name.rpartition(".")
    owner = pkgutil.resolve_name(f"{module}:{owner}" if owner else module)

    def full(*arguments: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(owner, last, full)
    done = command(*TINY, "trainer.limit_steps=1", f"runs_dir={tmp_path}")
    assert done.returncode == 2, done.stderr
    assert f"error: {words}" in done.stderr and "No space left on device" in done.stderr
