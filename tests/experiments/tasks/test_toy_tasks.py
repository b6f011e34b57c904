"""Tasks that the platform does not know: they train, resume, select, report and draw through the
protocol alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from matplotlib.figure import Figure as Canvas
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import MeanAbsoluteError, MetricCollection
from torchmetrics.classification import MulticlassAccuracy

from conv_kan import KANConv
from experiments.app import run
from experiments.config.compose import load_config
from experiments.config.data import DataConfig
from experiments.data import Recipe, load_datasets
from experiments.errors import ConfigError
from experiments.reporting.read import read_rows
from experiments.reporting.report import main
from experiments.runs.ending import Result
from experiments.tasks.base import Task
from experiments.tasks.rows import TASKS, Figure, register_task
from models import register, registry
from tests.experiments.conftest import TINY
from tests.experiments.resuming import resume_at

MAE = Figure("mae", "MAE", maximise=False)
ACCURACY = Figure("accuracy", percent=True)


# ------------------------------------------------------------------------- a number from an image
class Number(Task):
    """The digit that an image shows, as a number."""

    def __init__(self, config, datasets):
        super().__init__(config, datasets)
        self.input_shape, self.num_outputs = tuple(datasets.train[0][0].shape), 1

    def recipe(self, training):
        return Recipe(prepare=lambda image, digit: (image / 255, torch.tensor([digit / 10])))

    def criterion(self, outputs, targets):
        return F.mse_loss(outputs, targets)

    def running(self, outputs, targets):
        return (outputs - targets).abs().sum()

    def metrics(self, device):
        return MetricCollection({"mae": MeanAbsoluteError()}).to(device)

    def record(self, metrics):
        return {"seen": int(metrics["mae"].total)}

    def pictures(self, test):
        def draw(path: Path) -> None:
            figure = Canvas()
            figure.subplots().bar(["mae"], [test["metrics"]["mae"]])
            figure.savefig(path)

        return {"error_bar": draw}


# ------------------------------------------------------------------------------ classes of signals
class Signals(Task):
    """Which digit the rows of its image, one after the other, belong to."""

    def __init__(self, config, datasets):
        super().__init__(config, datasets)
        self.input_shape, self.num_outputs = (1, 64), 10

    def recipe(self, training):
        def prepare(image: Tensor, digit: int) -> tuple[Tensor, int]:
            return F.adaptive_avg_pool2d(image / 255, 8).reshape(1, 64), digit

        return Recipe(prepare)

    def criterion(self, outputs, targets):
        return F.cross_entropy(outputs, targets)

    def metrics(self, device):
        return MetricCollection({"accuracy": MulticlassAccuracy(10, average="micro")}).to(device)


def build_signal_net(num_classes: int, input_channels: int) -> nn.Module:
    conv = KANConv(input_channels, 8, 3, ndim=1, stride=2)
    return nn.Sequential(conv, nn.AdaptiveAvgPool1d(4), nn.Flatten(), nn.Linear(32, num_classes))


@pytest.fixture(scope="module", autouse=True)
def registered():
    """As decorators of a script would; taken back, since other tests go over all that there is."""
    register_task("number", figures=(MAE,), running="mae", unit="image")(Number)
    register_task("signals", figures=(ACCURACY,), unit="signal")(Signals)
    register("toy_signal_net", options=[])(build_signal_net)
    yield
    del TASKS["number"], TASKS["signals"], registry._MODELS["toy_signal_net"]


SMALL = [option for option in TINY if not option.startswith("model")]
NUMBER = ["task=number", "model=simple_conv_kagn", "model.layer_sizes=[4,4,8,8]"]
SIGNALS = ["task=signals", "model=toy_signal_net"]


def go(folder: Path, *overrides: str) -> Result:
    options = [*SMALL, "trainer.limit_steps=6", "trainer.epochs=3", f"runs_dir={folder}"]
    config = load_config("cifar", [*options, *overrides])
    return run(config, lambda cfg: load_datasets(DataConfig()))


def rows_of(result: Result, split: str) -> list[dict]:
    return [r for r in read_rows(result.run_dir / "metrics.jsonl") if r["split"] == split]


def test_a_number_trains_and_is_selected_by_its_own_figure(tmp_path: Path) -> None:
    result = go(tmp_path, *NUMBER)
    train, validation = rows_of(result, "train"), rows_of(result, "validation")
    assert set(train[0]) == {"split", "epoch", "step", "loss", "mae", "lr"}
    assert set(validation[0]) == {"split", "epoch", "step", "loss", "mae"}
    assert train[-1]["loss"] < train[0]["loss"]
    best = min(validation, key=lambda row: row["mae"])
    assert result.best_epoch == best["epoch"]
    test = json.loads((result.run_dir / "test.json").read_text())
    assert test["seen"] == 359 and set(test["metrics"]) == {"loss", "mae"}
    assert "confusion_matrix" not in test
    names = {path.name for path in result.run_dir.glob("*.png")}
    assert names == {"curves.png", "error_bar.png"}


def test_a_number_resumes_bit_for_bit(tmp_path: Path) -> None:
    options = [*NUMBER, "trainer.ema_decay=0.9", "model.dropout=0.1"]
    resume_at(12, go, tmp_path, options)


def test_reports_show_the_columns_of_each_task(tmp_path: Path, capsys) -> None:
    go(tmp_path, *NUMBER, "trainer.epochs=1")
    go(tmp_path, *NUMBER[1:], "trainer.epochs=1")
    capsys.readouterr()
    assert main([str(tmp_path), "--format", "csv"]) == 0
    header, *rows = capsys.readouterr().out.splitlines()
    columns = header.split(",")
    assert {"test_mae", "validation_mae", "test_accuracy", "validation_accuracy"} <= set(columns)
    figures = [row.split(",")[columns.index("test_mae")] for row in rows]
    assert sum(text != "" for text in figures) == 1


def test_signals_have_one_dimension(tmp_path: Path) -> None:
    result = go(tmp_path, *SIGNALS)
    assert json.loads((result.run_dir / "manifest.json").read_text())["input_shape"] == [1, 64]
    train = rows_of(result, "train")
    assert set(train[0]) == {"split", "epoch", "step", "loss", "lr"}
    assert train[-1]["loss"] < train[0]["loss"]


def test_what_signals_do_not_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"trainer.channels_last=false"):
        go(tmp_path, *SIGNALS, "trainer.channels_last=true")
    with pytest.raises(ConfigError, match="loss=focal: task=number has a loss of its own"):
        go(tmp_path, *NUMBER, "loss=focal")
    with pytest.raises(ConfigError, match="'accuracy' is not known"):
        go(tmp_path, *NUMBER, "trainer.monitor=accuracy")
