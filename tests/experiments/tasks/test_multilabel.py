"""Images with several labels train, are judged, select, draw and go on as those of a class."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, average_precision_score, f1_score

from experiments.app import run
from experiments.config.compose import load_config
from experiments.config.data import DataConfig
from experiments.data import Datasets, load_datasets
from experiments.data.admit import admit
from experiments.errors import UserError
from experiments.files import read_rows
from experiments.reporting.report import main
from experiments.runs.ending import Result
from experiments.tasks.base import create_task
from experiments.tasks.label_metrics import LabelMetrics
from experiments.tasks.multilabel import ReadLabels
from experiments.tasks.rows import LabelMetricsConfig
from tests import forks
from tests.experiments.resuming import resume_at
from tests.experiments.tasks.several import get_data

SCRIPT = "tests/experiments/tasks/several.py"
# data=digits is not read: the script's own get_data is.
TINY = [
    "task=multilabel", "data=digits", "model=simple_conv", "model.layer_sizes=[16,32,32,32]",
    "augment=none", "scheduler=constant", "optimizer.lr=1e-2", "trainer.batch_size=50",
    "trainer.epochs=2", "trainer.progress=false", "trainer.cpu=true", "name=run",
]  # fmt: skip
SHORT = ["trainer.limit_steps=3"]


def go(folder: Path, *overrides: str, data=get_data) -> Result:
    return run(load_config("cifar", [*TINY, f"runs_dir={folder}", *overrides]), data)


def test_real_digits_are_found_far_above_chance(tmp_path: Path, capsys) -> None:
    result = go(tmp_path, "trainer.epochs=7")
    test = json.loads((result.run_dir / "test.json").read_text())
    share = np.mean([label["share"] for label in test["by_label"].values()])
    assert share < 0.25 and result.test["map"] > share + 0.4 and result.test["f1_macro"] > 0.4
    rows = read_rows(result.run_dir / "metrics.jsonl")
    validation = [row for row in rows if row["split"] == "validation"]
    assert result.best_epoch == max(validation, key=lambda row: row["map"])["epoch"]
    assert {"f1_micro", "exact_match", "ap/7", "f1/7"} < set(validation[0])
    assert 0 <= rows[0]["exact_match"] < rows[-2]["exact_match"] <= 1
    pictures = {path.name for path in result.run_dir.glob("*.png")}
    assert pictures == {"curves.png", "precision_recall.png"}
    curve = test["precision_recall"]["3"]
    assert len(curve["recall"]) <= 100 and curve["recall"][-1] == 0 and curve["precision"][-1] == 1
    description = json.loads((result.run_dir / "manifest.json").read_text())["description"]
    assert description["task"] == "multilabel" and len(description["class_names"]) == 10
    capsys.readouterr()
    assert main([str(tmp_path), "--format", "csv"]) == 0
    header, row = (line.split(",") for line in capsys.readouterr().out.splitlines())
    assert float(row[header.index("test_map")]) == result.test["map"]
    assert "test_f1_macro" in header and "test_accuracy" not in header


def test_it_resumes_bit_for_bit(tmp_path: Path) -> None:
    options = ["trainer.ema_decay=0.9", "model.dropout=0.1", "trainer.accumulation=2"]
    options += [*SHORT, "augment=mixup", "trainer.batch_size=40"]
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
        SCRIPT, *TINY, *options, f"runs_dir={tmp_path / '2'}", processes=2, ACCELERATE_USE_CPU="1"
    )
    assert {rank.returncode for rank in ended} == {0}, ended[0].stderr
    one, two = (
        json.loads(next((tmp_path / n / "run").glob("*/test.json")).read_text()) for n in "12"
    )
    assert one["metrics"]["loss"] == pytest.approx(two["metrics"]["loss"], rel=1e-3)
    assert one["metrics"]["map"] == pytest.approx(two["metrics"]["map"], abs=0.03)
    shares = [[label["share"] for label in each["by_label"].values()] for each in (one, two)]
    assert shares[0] == shares[1]
    assert list((tmp_path / "2" / "run").glob("*/precision_recall.png"))


# ----------------------------------------------------------------------------------------- figures
def test_figures_are_those_of_scikit_learn() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(60, 4, generator=generator).double().float()
    targets = (torch.rand(60, 4, generator=generator) > 0.7).float()
    targets[:, 3] = 0  # a label that no image has
    metrics = LabelMetrics("abcd", LabelMetricsConfig(threshold=0.4))
    metrics.update(logits[:50], targets[:50])
    metrics.update(logits[50:], targets[50:])
    figures = metrics.compute()
    truth, found = targets.numpy(), (logits.double().sigmoid() > 0.4).numpy()
    ap = average_precision_score(truth[:, :3], logits[:, :3].double().numpy(), average=None)
    f1 = f1_score(truth[:, :3], found[:, :3], average=None)
    assert [figures[f"ap/{n}"] for n in "abc"] == pytest.approx(ap, abs=1e-6)
    assert [figures[f"f1/{n}"] for n in "abc"] == pytest.approx(f1, abs=1e-6)
    assert figures["map"] == pytest.approx(ap.mean(), abs=1e-6)
    assert figures["f1_macro"] == pytest.approx(f1.mean(), abs=1e-6)
    assert figures["f1_micro"] == pytest.approx(f1_score(truth, found, average="micro"), abs=1e-6)
    assert figures["exact_match"] == pytest.approx(accuracy_score(truth, found), abs=1e-6)
    assert "ap/d" not in figures and list(metrics.curves()) == ["a", "b", "c"]
    assert "ap/a" not in LabelMetrics("abcd", LabelMetricsConfig(per_label=False)).names


# ----------------------------------------------------------------------------------------- targets
IMAGES = torch.randint(0, 255, (8, 1, 16, 16), generator=torch.Generator().manual_seed(0)).byte()
VECTORS = [[1, 0, 0], [0, 1, 1], [0, 0, 0], [1, 1, 1]] * 2
PLACES = [[0], [1, 2], [], [0, 1, 2]] * 2
NAMED = [["ant"], ["cow", "bee"], ["bee"], ["ant", "bee", "cow"]] * 2
KINDS = {
    "vectors": (VECTORS, VECTORS),
    "a tensor": (torch.tensor(VECTORS), VECTORS),
    "arrays of floats": ([np.array(v, float) for v in VECTORS], VECTORS),
    "bools": (torch.tensor(VECTORS).bool(), VECTORS),
    "places": (PLACES, VECTORS),
    "tuples of places": ([tuple(p) for p in PLACES], VECTORS),
    "sets of places": ([set(p) for p in PLACES], VECTORS),
    "names": (NAMED, [[1, 0, 0], [0, 1, 1], [0, 1, 0], [1, 1, 1]] * 2),
}


@pytest.mark.parametrize("kind", KINDS)
def test_labels_of_any_kind_are_vectors(kind: str) -> None:
    given, wanted = KINDS[kind]
    config = load_config("cifar", [*TINY, "trainer.batch_size=4"])
    data = admit(((IMAGES, given),) * 3, config)
    task = create_task(config, data)
    recipe = task.recipe(False)
    _, targets = recipe.collate([recipe.prepare(*data.test[i]) for i in range(8)])
    assert targets.dtype == torch.float32 and targets.tolist() == wanted
    assert list(task.class_names) == (["ant", "bee", "cow"] if kind == "names" else ["0", "1", "2"])


def test_whole_batches_are_read_as_single_images() -> None:
    for vectors, targets in (
        (True, torch.tensor(VECTORS)),
        (False, torch.tensor([[0, 2], [1, 2]])),
    ):
        reader = ReadLabels(3, vectors)
        assert torch.equal(reader.many(targets), torch.stack([reader.one(t) for t in targets]))


def pairs(targets):
    return lambda cfg: tuple((IMAGES, targets) for _ in range(3))


@pytest.mark.parametrize(("task", "targets", "words"), [
    ("multilabel", [0, 1] * 4, "target 0.*task=classification"),
    ("multilabel", ["a", "b"] * 4, "target 0.*task=classification"),
    ("multilabel", [0.5, 1.5] * 4, "target 0.5.*task=regression"),
    ("multilabel", [[0.5, 1.0]] * 8, "0.5.*task=regression"),
    ("multilabel", torch.zeros(8, 3), "none of the 8 train images looked at has a label"),
    ("multilabel", torch.zeros(8, 16, 16).long(), "a mask.*task=segmentation"),
    ("classification", torch.tensor(VECTORS), "argmax.*task=multilabel"),
    ("classification", PLACES[:1] + PLACES[1:2] * 7, "task=multilabel"),
    ("classification", torch.rand(8), "task=regression"),
    ("regression", NAMED, "have classes.*task=classification"),
])  # fmt: skip
def test_targets_of_another_task_are_refused_with_it(
    tmp_path: Path, task: str, targets, words: str
) -> None:
    model = ["model=simple_conv", "trainer.batch_size=4", "trainer.progress=false", "augment=none"]
    config = load_config("cifar", [*model, "data=digits", f"task={task}", f"runs_dir={tmp_path}"])
    with pytest.raises(UserError, match=words) as told:
        run(config, pairs(targets))
    assert len(str(told.value).splitlines()) == 1 and not list(tmp_path.iterdir())


def test_what_cannot_work_is_told_before_there_is_a_run(tmp_path: Path) -> None:
    for overrides, words in (
        (["model=simple_conv_kagn", "model.layer_sizes=[4,4,8,8]"], "model.head=linear"),
        (["loss=focal"], "loss=focal is a loss of task=classification"),
        (["augment=mixup", "augment.mix_mode=elem"], "augment.mix_mode=batch"),
        (["data.num_classes=3"], "vectors of 10 labels"),
        (["metrics.threshold=1.0"], "metrics.threshold"),
    ):
        with pytest.raises(UserError, match=words):
            go(tmp_path, *overrides)
    assert not list(tmp_path.iterdir())


def test_a_canvas_says_which_classes_can_be_seen() -> None:
    options = {"name": "canvas", "source": "digits", "count": 20, "image_size": 48}
    masks = load_datasets(DataConfig(**options))
    labels = load_datasets(DataConfig(**options, target="labels"))
    assert labels.train.classes == masks.train.classes[1:] and isinstance(labels, Datasets)
    for (image, mask), (same, seen) in zip(
        (masks.test[i] for i in range(4)), (labels.test[i] for i in range(4)), strict=True
    ):
        assert torch.equal(image, same)
        present = set(mask.unique().tolist()) - {0}
        assert set((seen.nonzero().flatten() + 1).tolist()) == present and present
    with pytest.raises(UserError, match=r"digits offers class and ink; type data.target=class"):
        load_datasets(DataConfig(target="labels"))
