"""Runs that never look at test images, and runs that learn from the validation images too."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.app import run
from experiments.config.compose import load_config
from experiments.config.data import DataConfig
from experiments.data import load_datasets
from experiments.data.containers import Joined, Unread, labels_of, locate
from experiments.data.splits import join
from experiments.errors import DataError
from experiments.files import read_rows
from experiments.runs.ending import Result
from tests.experiments.conftest import TINY

Run = Callable[..., Result]


class Forbidden:
    """A test split that nobody may ask anything but its length of."""

    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> Any:
        raise AssertionError("a test image was read")

    @property
    def targets(self) -> Any:
        raise AssertionError("test labels were read")


def test_a_run_that_is_not_tested_reads_no_test_image(tmp_path: Path) -> None:
    def get_data(config: Any) -> Any:
        return (*load_datasets(config.data)[:2], Forbidden())

    config = load_config("cifar", [*TINY, "trainer.test=false", f"runs_dir={tmp_path}"])
    result = run(config, get_data)
    manifest = json.loads((result.run_dir / "manifest.json").read_text())
    assert result.test is None and not (result.run_dir / "test.json").exists()
    assert manifest["status"] == "finished" and manifest["facts"]["data"]["images"][2] == 0
    assert (result.run_dir / "best.safetensors").exists()
    assert (result.run_dir / "curves.png").exists()
    with pytest.raises(DataError, match=r"trainer.test=false"):
        Unread()[0]


def test_without_its_test_a_run_computes_the_same(tiny_run: Run) -> None:
    tested, untested = tiny_run(), tiny_run("trainer.test=false")
    one, other = (read_rows(r.run_dir / "metrics.jsonl") for r in (tested, untested))
    assert one == other and len(one) == 2
    assert (tested.run_dir / "best.safetensors").read_bytes() == (
        untested.run_dir / "best.safetensors"
    ).read_bytes()


def test_fitting_all_trains_on_every_image_and_keeps_the_last_weights(tiny_run: Run) -> None:
    result = tiny_run("data.fit=all", "trainer.epochs=2", "trainer.limit_steps=null")
    rows = read_rows(result.run_dir / "metrics.jsonl")
    manifest = json.loads((result.run_dir / "manifest.json").read_text())
    train, validation, test = manifest["facts"]["data"]["images"]
    assert [row["split"] for row in rows] == ["train", "train"]
    assert train == 1797 - test and train > validation > 0
    assert rows[0]["step"] == train // 32
    assert result.best_epoch == 2 and result.test is not None
    last = sorted((result.run_dir / "checkpoints").glob("step-*"))[-1]
    from safetensors.torch import load_file

    best = load_file(result.run_dir / "best.safetensors")
    kept = load_file(last / "model.safetensors")
    assert all((best[name] == kept[name]).all() for name in best)


def test_joined_splits_are_the_images_of_both() -> None:
    train, validation, _ = load_datasets(DataConfig())
    joined = join(train, validation)
    both = np.sort(np.concatenate([train.indices, validation.indices]))
    assert (joined.indices == both).all()
    others = Joined(train, validation)
    assert len(others) == len(train) + len(validation)
    for index, (base, own) in {0: (train, 0), len(train): (validation, 0)}.items():
        assert others[index][1] == base[own][1] and (others[index][0] == base[own][0]).all()
    assert labels_of(others).tolist() == labels_of(train).tolist() + labels_of(validation).tolist()
    assert locate(others, len(train)) == locate(validation, 0)
