"""What classification learns about its data, and how it judges labels."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from experiments.app import run
from experiments.config.compose import load_config
from experiments.config.data import DataConfig
from experiments.data import Datasets, load_datasets
from experiments.errors import ConfigError, DataError
from experiments.tasks.base import create_task
from experiments.tasks.classification import (
    Classification,
    check_labels,
    class_names,
    tell_costs,
)
from experiments.tasks.rows import MetricsConfig


@pytest.fixture(scope="module")
def digits() -> Datasets:
    return load_datasets(DataConfig())


def test_the_model_is_made_for_the_classes_and_the_size(digits):
    task = create_task(load_config("cifar", ["data=digits", "data.image_size=16"]), digits)
    assert (task.num_outputs, task.input_shape, task.ndim) == (10, (1, 16, 16), 2)


SIZES = [
    "data=digits", "data.image_size=16", "augment=none", "augment.size=12", "augment.mixup=0.5",
    "trainer.epochs=1", "trainer.limit_steps=2", "trainer.batch_size=32", "trainer.progress=false",
    "trainer.cpu=true", "name=run",
]  # fmt: skip


def test_training_has_a_size_of_its_own(
    digits: Datasets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, set] = {}

    def watch(name: str) -> None:
        original = getattr(Classification, name)

        def loss(self, model, inputs, targets):
            seen.setdefault(name, set()).add(tuple(inputs.shape[1:]))
            return original(self, model, inputs, targets)

        monkeypatch.setattr(Classification, name, loss)

    watch("training_loss")
    watch("evaluation_loss")
    small = ["model.layer_sizes=[4,4,8,8]", f"runs_dir={tmp_path}"]
    run(load_config("cifar", [*SIZES, *small]), lambda cfg: digits)
    assert seen == {"training_loss": {(1, 12, 12)}, "evaluation_loss": {(1, 16, 16)}}
    by_heart = [*SIZES, *small, "trainer.overfit_batches=1", "name=by_heart"]  # as they are
    run(load_config("cifar", by_heart), lambda cfg: digits)
    assert seen["training_loss"] == {(1, 12, 12), (1, 16, 16)}


def test_a_transformer_of_one_size_is_refused_before_there_is_a_run(
    digits: Datasets, tmp_path: Path
) -> None:
    model = ["model=kat", "model.image_size=16", "model.patch_size=4", "model.width=16",
             "model.depth=1", "model.heads=2", "model.groups=4"]  # fmt: skip
    with pytest.raises(
        ConfigError, match=r"inputs of 12 x 12.*\nType augment.size=16, which works"
    ):
        run(load_config("cifar", [*SIZES, *model, f"runs_dir={tmp_path}"]), lambda cfg: digits)
    assert not list(tmp_path.iterdir())


def test_class_names_are_the_datasets_or_its_labels(digits):
    assert class_names(digits.train, DataConfig()) == tuple("0123456789")
    assert class_names(digits.train, DataConfig(num_classes=12))[9:] == ("9", "10", "11")
    items = [(torch.zeros(1, 2, 2), i % 3) for i in range(30)]
    assert class_names(items, DataConfig()) == ("0", "1", "2")
    with pytest.raises(DataError, match=r"data.num_classes=9: the dataset has 10 classes"):
        class_names(digits.train, DataConfig(num_classes=9))


@pytest.mark.parametrize("targets, wrong", [([0, 1, 2], None), ([0, 3, 9], 1), ([-1, 0, 0], 0)])
def test_the_first_label_that_is_no_class_is_told(targets, wrong):
    found = check_labels(3, torch.tensor(targets))
    assert (found is None) if wrong is None else found[0] == wrong
    if found is not None:
        assert f"label {targets[wrong]}" in found[1] and "0 to 2" in found[1]


def test_hits_of_mixed_targets_count_their_largest_share(digits):
    task = create_task(load_config("cifar", ["data=digits"]), digits)
    logits = torch.eye(10)[:4]
    assert task.running(logits, torch.tensor([0, 1, 2, 0])) == 3
    mixed = 0.6 * torch.eye(10)[:4] + 0.4 * torch.eye(10)[4:8]
    assert task.running(logits, mixed) == 4 and task.running(logits, mixed.flip(0)) == 0


def test_the_confusion_matrix_is_the_record_and_the_picture(digits, tmp_path):
    task = create_task(load_config("cifar", ["data=digits"]), digits)
    metrics = task.metrics(torch.device("cpu"))
    metrics.update(torch.eye(10), torch.arange(10))
    record = task.record(metrics)
    assert record["confusion_matrix"] == torch.eye(10).int().tolist()
    ((name, draw),) = task.pictures(record).items()
    draw(tmp_path / f"{name}.png")
    assert (tmp_path / "confusion_matrix.png").stat().st_size > 1000


def test_a_figure_that_cannot_exist_may_not_select(digits):
    options = ["data=digits", "metrics.auc_max_classes=3", "trainer.monitor=auc_ovr"]
    with pytest.raises(ConfigError, match=r"metrics\.auc_max_classes=10"):
        create_task(load_config("cifar", options), digits)


def test_what_many_classes_cost_is_told_and_a_matrix_of_them_left_out(digits, caplog):
    options = ["data=digits", "data.num_classes=12", "metrics.confusion_max_classes=11"]
    task = create_task(load_config("cifar", options), digits)
    (line,) = [text for text in caplog.messages if "confusion" in text]
    assert "no confusion matrix: 12 classes" in line and "max_classes=11" in line
    record = task.record(task.metrics(torch.device("cpu")))
    assert "confusion_matrix" not in record and len(record["class_names"]) == 12
    assert task.pictures(record) == {}
    caplog.clear()
    tell_costs(MetricsConfig(auc_max_classes=10_000, confusion_max_classes=10_000), 10_000, 50_000)
    (line,) = caplog.messages
    assert "2.0 GB" in line and "metrics.auc_max_classes=0" in line
