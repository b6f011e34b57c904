"""Networks that are not of this package go its whole way: trained, killed, resumed and used."""

from __future__ import annotations

import csv
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests import forks
from tests.experiments.resuming import assert_same_files

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[3]
OWN = """
from torch import nn

from experiments.app import launch
from models import Option, register


class OwnNet(nn.Sequential):
    def get_classifier(self):
        return self[-1]


@register("own_net", options=[Option("width", int, 8, "channels")])
def own_net(*, num_classes, input_channels, width):
    return OwnNet(nn.Conv2d(input_channels, width, 3, 2, 1), nn.BatchNorm2d(width), nn.ReLU(),
                  nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * width, num_classes))


if __name__ == "__main__":
    launch("cifar")
"""
KILLED = """
import runpy, sys
from tests.experiments.training.resume_driver import kill_in_the_middle_of

kill_in_the_middle_of(8, 0, 9)
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
SETTINGS = [
    "data=digits", "data.image_size=32", "data.train_size=192", "augment=none",
    "trainer.batch_size=32", "trainer.epochs=2", "trainer.checkpoint_steps=2", "trainer.cpu=true",
]  # fmt: skip


def go(*arguments: str, processes: int = 1) -> str:
    """What a command printed, which must end well."""
    done = forks.run(*arguments, processes=processes, ACCELERATE_USE_CPU="1")
    assert {each.returncode for each in done} == {0}, done[0].stdout + done[0].stderr
    return done[0].stdout


def run_in(folder: Path) -> Path:
    (found,) = folder.glob("*/*/")
    return found


@pytest.mark.parametrize("kind", ["timm", "own"])
def test_from_training_to_use(kind: str, pictures: Path, tmp_path: Path) -> None:
    script, network = "cifar.py", ["model=timm", "model.architecture=resnet18"]
    used: list[str] = []
    if kind == "own":
        script, network = str(tmp_path / "own.py"), ["model=own_net"]
        Path(script).write_text(OWN)
        used = ["--script", script]
    words = [*SETTINGS, *network]

    # A kill in the second epoch leaves no trace.
    go(script, *words, f"runs_dir={tmp_path}/whole")
    whole = run_in(tmp_path / "whole")
    killed = [script, *words, f"runs_dir={tmp_path}/killed"]
    (end,) = forks.run("-c", KILLED, *killed, ACCELERATE_USE_CPU="1")
    assert end.returncode == -signal.SIGKILL, end.stderr
    assert "resumed from" in go(*killed, "trainer.resume=auto")
    run = run_in(tmp_path / "killed")
    assert_same_files(run, whole)

    # Its figures again: from the run, and as a published evaluation, by two processes.
    test = json.loads((run / "test.json").read_text())
    go("-m", "experiments.evaluate", str(run), *used)
    found = json.loads((run / "evaluations" / "digits-test.json").read_text())
    assert found["metrics"] == test["metrics"]
    evaluate = [*words, "trainer.mode=evaluate", f"model.weights={run}"]
    go(script, *evaluate, f"runs_dir={tmp_path}/evaluated", processes=2)
    (two,) = (tmp_path / "evaluated").rglob("digits-test.json")
    assert json.loads(two.read_text())["metrics"] == pytest.approx(test["metrics"], rel=1e-4)

    # Predictions of files are those of the network in the hub's format.
    answers = []
    hub = tmp_path / "hub"
    export = ["-m", "experiments.export", str(run), *used]
    go(*export, "--format", "hub", "--out", str(hub))
    go(*export, "--format", "onnx", "--out", str(tmp_path / "onnx"))
    for place in (run, hub):
        out = tmp_path / f"{place.name}.csv"
        go("-m", "experiments.predict", str(place), str(pictures), "--out", str(out), *used)
        answers.append(out.read_text())
    assert answers[0] == answers[1] and len(list(csv.DictReader(answers[0].splitlines()))) == 7
    done = subprocess.run(
        [sys.executable, "run_onnx.py", *map(str, sorted(pictures.iterdir()))],
        cwd=tmp_path / "onnx", capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.count("\n") >= 7

    # The folder for the hub begins a run of other classes.
    shutil.rmtree(run)
    tuned = [*words, "trainer.epochs=1", "data.num_classes=12", f"model.weights={hub}"]
    go(script, *tuned, f"runs_dir={tmp_path}/tuned")
    manifest = json.loads((run_in(tmp_path / "tuned") / "manifest.json").read_text())
    assert "a new head for 12 classes, where there were 10" in manifest["weights"]["notes"]

    # A search of two trials.
    search = [
        "tune.py", *used, *words, "trainer.epochs=1", "tune.trials=2", "tune.search=random",
        "tune.space.optimizer.lr=loguniform(1e-4, 1e-2)", f"tune.directory={tmp_path}/search",
    ]  # fmt: skip
    done = subprocess.run([sys.executable, *search], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (trials,) = (tmp_path / "search").rglob("trials.csv")
    with open(trials, newline="") as file:
        assert [row["status"] for row in csv.DictReader(file)] == ["finished", "finished"]
