"""trainer.mode=evaluate: trained weights, the test split, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from experiments.app import run
from experiments.config.compose import load_config
from experiments.errors import ConfigError
from tests.experiments.conftest import TINY


def evaluate(folder: Path, *overrides: str):
    words = [*TINY, f"runs_dir={folder}", "trainer.mode=evaluate", *overrides]
    return run(load_config("cifar", words))


def test_it_has_the_figures_of_the_run_that_trained_the_weights(tiny_run, tmp_path: Path) -> None:
    trained = tiny_run()
    before = {path: path.stat().st_mtime_ns for path in trained.run_dir.rglob("*")}
    result = evaluate(tmp_path / "other", f"model.weights={trained.run_dir}")
    assert result.test == trained.test
    assert before == {path: path.stat().st_mtime_ns for path in trained.run_dir.rglob("*")}
    assert sorted(path.name for path in result.run_dir.iterdir()) == [
        "digits-test.json", "digits-test_confusion_matrix.png", "digits-test_reliability.png",
    ]  # fmt: skip
    found = json.loads((result.run_dir / "digits-test.json").read_text())
    assert found["metrics"] == trained.test and found["model"] == "simple_conv_kagn"
    assert found["top1"] == pytest.approx(100 * trained.test["accuracy"], abs=5e-4)
    assert found["top1"] + found["top1_err"] == pytest.approx(100)
    assert {"top5", "top5_err", "param_count", "img_size", "crop_pct", "interpolation"} <= set(
        found
    )


@pytest.mark.parametrize(
    "overrides, said",
    [
        ([], "trainer.mode=evaluate needs trained weights: type model.weights=RUN"),
        (["trainer.resume=auto"], "trainer.resume=auto with trainer.mode=evaluate"),
        (["trainer.start_from=a"], "trainer.start_from=a with trainer.mode=evaluate"),
        (["trainer.mode=test"], "trainer.mode='test'"),
    ],
)
def test_what_it_cannot_do_is_a_sentence(overrides, said, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=said):
        evaluate(tmp_path, *overrides)


def test_a_head_that_was_never_trained_is_refused(tiny_run, tmp_path: Path) -> None:
    weights = f"model.weights={tiny_run().run_dir}"
    with pytest.raises(
        ConfigError, match=r"has no values for .*, and trainer.mode=evaluate trains"
    ):
        evaluate(tmp_path, weights, "data.num_classes=12")
