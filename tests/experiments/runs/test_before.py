"""What can be refused is refused before a run has a directory."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments.app import run
from experiments.config.compose import load_config
from experiments.config.data import DataConfig
from experiments.data import load_datasets
from experiments.data.containers import Part
from experiments.errors import DataError
from tests.experiments.conftest import TINY, command


@pytest.mark.parametrize("overrides, words", [
    (["trainer.batch_size=4096"], "there are only 1294 training images"),
    (["scheduler=cosine", "scheduler.warmup=4"], "scheduler.warmup=4"),
    (["augment.policy=random_augment", "augment.random_augment=rand-x"], "augment.random_augment"),
    (["scheduler=cosine", "scheduler.lr_end=1"], "scheduler.lr_end"),
    (["trainer.overfit_batches=99"], "trainer.overfit_batches=99"),
    (["name=../../x"], "name='../../x'"),
    (["name=''"], "name=''"),
    (["name=."], "name='.'"),
    ([f"name={'x' * 300}"], "a part of it has 300 bytes"),
    (["data.image_size=1", "model.norm=instance"], "Type data.image_size=8, which works"),
    (["model.groups=3"], "error: model simple_conv_kagn: groups=3"),
    (["name=/tmp/x"], "name='/tmp/x'"),
    (["optimizer.lr=inf"], "optimizer.lr=inf: must be a finite number"),
    (["optimizer.lr=1e400"], "optimizer.lr=inf: must be a finite number"),
    (["optimizer.betas=[0.9,nan]"], "optimizer.betas[1]=nan"),
    (["trainer.max_grad_norm=-inf"], "trainer.max_grad_norm=-inf"),
    (["model=simple_conv_kacn", "model.norm=instance"], "the network cannot learn"),
    (["model.dropout=nan"], "dropout=nan must be a number, and a finite one"),
    (["--epochs", "5"], "type trainer.epochs=5"),
    (["data.root=''", "data=folder"], "data.root='': must be a directory"),
    (["trainer.threads=100000"], "must be 1 to 1024"),
    (["data.workers=999"], "must be 0 (the main process reads) to 256"),
])  # fmt: skip
def test_a_mistake_leaves_nothing(tmp_path: Path, overrides: list[str], words: str) -> None:
    done = command(*TINY, f"runs_dir={tmp_path}/a/b", *overrides)
    assert done.returncode == 2 and words in done.stderr, done.stderr
    assert "Traceback" not in done.stderr and not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["one class", "no validation", "no test"])
def test_data_that_cannot_be_judged_leave_nothing(tmp_path: Path, kind: str) -> None:
    def get_data(config: object) -> tuple:
        train, validation, test = load_datasets(DataConfig())
        if kind == "one class":
            train.classes = ["0"]
            train.base.targets[:] = 0
        empty = Part(test, [])
        return train, empty if "val" in kind else validation, empty if "test" in kind else test

    config = load_config("cifar", [*TINY, f"runs_dir={tmp_path}"])
    words = {"one class": "two or more", "no test": "test split has no images",
             "no validation": "validation split has no images"}  # fmt: skip
    with pytest.raises(DataError, match=words[kind]):
        run(config, get_data)
    assert not list(tmp_path.iterdir())


def test_a_penalty_without_a_layer_to_act_on_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch import nn

    from experiments.runs import prepare

    plain = nn.Sequential(nn.Flatten(), nn.Linear(256, 10))
    monkeypatch.setattr(prepare, "make_model", lambda *arguments: plain)
    done = command(*TINY, f"runs_dir={tmp_path}", "penalty.activation_l2=0.1")
    assert done.returncode == 2 and "acts on KAN layers" in done.stderr
    assert not list(tmp_path.iterdir())
