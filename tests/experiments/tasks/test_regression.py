"""Numbers train, are judged, select, draw, stop and go on as classes do, in their own units."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error
from torch import nn

from experiments.app import run
from experiments.config.compose import load_config
from experiments.config.data import DataConfig
from experiments.data import load_datasets
from experiments.data.admit import admit
from experiments.errors import DataError, UserError
from experiments.files import read_rows
from experiments.reporting.report import main
from experiments.runs.ending import Result
from experiments.tasks.base import create_task
from experiments.tasks.number_metrics import NumberMetrics
from models.description import Description
from tests import forks
from tests.experiments.resuming import resume_at

TINY = [
    "task=regression", "data=digits", "data.target=ink", "data.image_size=8", "model=simple_conv",
    "model.layer_sizes=[8,8,16,16]", "augment=none", "scheduler=constant", "optimizer.lr=1e-2",
    "trainer.batch_size=64", "trainer.epochs=2", "trainer.progress=false", "trainer.cpu=true",
    "name=run",
]  # fmt: skip
SHORT = ["trainer.limit_steps=3"]


def load(*overrides: str):
    return load_config("cifar", [*TINY, *overrides])


def go(folder: Path, *overrides: str, data=None) -> Result:
    given = () if data is None else (data,)
    return run(load(f"runs_dir={folder}", *overrides), *given)


def test_the_ink_of_real_digits_is_predicted_in_its_units(tmp_path: Path, capsys) -> None:
    result = go(tmp_path, "trainer.epochs=3")
    assert result.test["r2"] > 0.5
    truth = load_datasets(DataConfig(target="ink", image_size=8)).test
    ink = np.array([truth[i][1] for i in range(len(truth))])
    trivial = np.abs(ink - ink.mean()).mean()
    assert 20 < ink.mean() < 40 and result.test["mae"] < 0.7 * trivial
    rows = read_rows(result.run_dir / "metrics.jsonl")
    validation = [row for row in rows if row["split"] == "validation"]
    assert result.best_epoch == min(validation, key=lambda row: row["mae"])["epoch"]
    test = json.loads((result.run_dir / "test.json").read_text())
    pairs = test["examples"]["ink"]
    assert pairs["true"] == pytest.approx(ink.tolist(), rel=1e-5)
    assert test["metrics"]["mae"] == pytest.approx(
        mean_absolute_error(pairs["true"], pairs["predicted"]), rel=1e-5
    )
    pictures = {path.name for path in result.run_dir.glob("*.png")}
    assert pictures == {"curves.png", "predicted.png"}
    manifest = json.loads((result.run_dir / "manifest.json").read_text())
    described = Description.from_dict(manifest["description"])
    assert described.target_names == ("ink",) and described.target_mean[0] == pytest.approx(30, 0.2)
    capsys.readouterr()
    assert main([str(tmp_path), "--format", "csv"]) == 0
    header, row = (line.split(",") for line in capsys.readouterr().out.splitlines())
    assert float(row[header.index("test_r2")]) == result.test["r2"] and "test_mae" in header


def test_it_resumes_bit_for_bit(tmp_path: Path) -> None:
    options = ["trainer.ema_decay=0.9", "model.dropout=0.1", "trainer.accumulation=2"]
    options += [*SHORT, "loss=huber", "augment=mixup"]
    resume_at(3, go, tmp_path, options)


@pytest.mark.slow
def test_two_processes_compute_what_one_does(tmp_path: Path) -> None:
    options = [
        *SHORT,
        "trainer.epochs=1",
        "model.dropout_linear=0",
        "model.norm=group",
        "optimizer=sgd",
    ]
    go(tmp_path / "1", *options)
    ended = forks.run(
        "cifar.py", *TINY, *options, f"runs_dir={tmp_path / '2'}",
        processes=2, ACCELERATE_USE_CPU="1",
    )  # fmt: skip
    assert {rank.returncode for rank in ended} == {0}, ended[0].stderr
    one, two = (
        json.loads(next((tmp_path / n / "run").glob("*/test.json")).read_text()) for n in "12"
    )
    for key in ("loss", "mae", "rmse"):
        assert one["metrics"][key] == pytest.approx(two["metrics"][key], rel=1e-3)
    first, second = (sorted(each["examples"]["ink"]["true"]) for each in (one, two))
    assert first == second and len(first) == 359


# ----------------------------------------------------------------------------------------- figures
def test_figures_are_those_of_scikit_learn_however_large_the_numbers() -> None:
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(50, 2, generator=generator)
    y = z + 0.3 * torch.randn(50, 2, generator=generator)
    mean, std = torch.tensor([2e6, 3.0]).double(), torch.tensor([0.5, 20.0]).double()
    metrics = NumberMetrics(["year", "b"], mean, std)
    metrics.update(y[:30], z[:30])
    metrics.update(y[30:], z[30:])
    figures = metrics.compute()
    true, predicted = ((v.double() * std + mean).numpy() for v in (z, y))
    for key, of in (
        ("mae", mean_absolute_error), ("rmse", root_mean_squared_error), ("r2", r2_score)
    ):  # fmt: skip
        each = of(true, predicted, multioutput="raw_values")
        assert [figures[f"{key}/{n}"] for n in ("year", "b")] == pytest.approx(each, rel=1e-5)
        assert figures[key] == pytest.approx(each.mean(), rel=1e-5)
    one = NumberMetrics(["a"], mean[:1], std[:1])
    one.update(y[:1, :1], z[:1, :1])
    assert set(one.compute()) == {"mae", "rmse"}


@pytest.mark.parametrize(("name", "loss"), [
    ("mse", nn.MSELoss()), ("l1", nn.L1Loss()), ("huber", nn.HuberLoss(delta=0.5)),
])  # fmt: skip
def test_losses_are_of_standardised_targets(name: str, loss: nn.Module) -> None:
    config = load(f"loss={name}", *(["loss.delta=0.5"] if name == "huber" else []))
    task = create_task(config, admit(load_datasets(config.data), config))
    recipe = task.recipe(False)
    ink = torch.tensor([10.0, 20.0, 60.0]).double()
    _, z = recipe.prepare(torch.zeros(3, 1, 8, 8, dtype=torch.uint8), ink)
    expected = (ink[:, None] - task.mean) / task.std
    torch.testing.assert_close(z.double(), expected, atol=1e-6, rtol=0)
    assert torch.equal(z[1], recipe.prepare(torch.zeros(1, 8, 8, dtype=torch.uint8), 20.0)[1])
    y = torch.tensor([[0.1], [-2.0], [0.5]])
    torch.testing.assert_close(task.criterion(y, z), loss(y, z))
    assert float(task.running(y, z)) == pytest.approx(float(((y - z).abs() * task.std).sum()), 1e-5)


# ----------------------------------------------------------------------------------------- targets
IMAGES = torch.randint(0, 255, (8, 1, 8, 8), generator=torch.Generator().manual_seed(0)).byte()


@pytest.mark.parametrize("targets", [
    [1.5, 2, 3, 4] * 2, torch.arange(8.0), np.arange(8), torch.arange(8)[:, None].double(),
    [np.float32(i) for i in range(8)], [[i, i * i] for i in range(8)],
])  # fmt: skip
def test_numbers_of_any_kind_are_vectors(targets) -> None:
    config = load("data.target=null", "trainer.batch_size=4")
    data = admit(((IMAGES, targets),) * 3, config)
    task = create_task(config, data)
    recipe = task.recipe(False)
    _, z = recipe.collate([recipe.prepare(*data.test[i]) for i in range(8)])
    given = np.array([np.atleast_1d(t) for t in targets], float)
    wanted = (given - given.mean(0)) / given.std(0)
    assert z.dtype == torch.float32
    np.testing.assert_allclose(z.numpy(), wanted, atol=1e-6)


@pytest.mark.parametrize(("targets", "words"), [
    ([1.0] * 8, "the target is 1 for all 8 training images"),
    ([1.0, float("nan")] * 4, "training image 1 has the target nan.*not finite"),
    ([1.0, None] * 4, "target None: the task needs a number"),
    ([[1.0, 2.0]] + [[1.0]] * 7, "training image 1 has 1 numbers.*first one 2"),
    (torch.zeros(8, 8, 8).long(), "a mask.*task=segmentation"),
    (["a", "b"] * 4, r"have classes \(a, b.*task=classification"),
])  # fmt: skip
def test_what_are_no_numbers_is_refused(tmp_path: Path, targets, words: str) -> None:
    with pytest.raises(UserError, match=words) as told:
        go(tmp_path, "data.target=null", "trainer.batch_size=4",
           data=lambda cfg: ((IMAGES, targets),) * 3)  # fmt: skip
    assert len(str(told.value).splitlines()) == 1 and not list(tmp_path.iterdir())


def test_classes_are_no_numbers(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"task=classification.*data.target=ink"):
        go(tmp_path, "data.target=null")
    with pytest.raises(UserError, match=r"trainer.monitor=mae"):
        halves = ((IMAGES, np.arange(8.0)), (IMAGES[:1], np.arange(1.0)), (IMAGES, np.arange(8.0)))
        options = ["data.target=null", "trainer.batch_size=4", "trainer.monitor=r2"]
        go(tmp_path, *options, data=lambda cfg: halves)
