"""A run that begins with another's checkpoint has settings of its own and tells its parent."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from experiments.app import run
from experiments.config.compose import load_config
from experiments.errors import CheckpointError
from experiments.files import read_rows, write_json
from experiments.runs.ending import Result
from experiments.training.tensor_files import sha256_of
from tests.experiments.conftest import TINY

Run = Callable[..., Result]
STATEFUL = ["trainer.ema_decay=0.9", "model.dropout=0.1", "scheduler=cosine", "trainer.epochs=3"]


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("parent")
    options = [*TINY, *STATEFUL, "trainer.keep_last=3", f"runs_dir={folder}"]
    return run(load_config("cifar", options)).run_dir


def second(parent: Path) -> Path:
    return parent / "checkpoints" / "step-00000004"


def test_with_the_same_settings_it_goes_on_as_its_parent_did(tiny_run: Run, parent: Path) -> None:
    child = tiny_run(*STATEFUL, f"trainer.start_from={second(parent)}").run_dir
    assert child != parent
    rows = read_rows(child / "metrics.jsonl")
    assert rows == read_rows(parent / "metrics.jsonl")[2:] and rows[0]["epoch"] == 2
    last = "checkpoints/step-00000012/model.safetensors"
    assert (child / last).read_bytes() == (parent / last).read_bytes()


def test_its_settings_are_its_own_and_the_manifest_names_the_parent(
    tiny_run: Run, parent: Path
) -> None:
    options = [*STATEFUL, "optimizer.lr=0.0125", "scheduler=constant", "name=child",
               "trainer.keep_last=3", f"trainer.start_from={second(parent)}"]  # fmt: skip
    child = tiny_run(*options).run_dir
    rates = [row["lr"] for row in read_rows(child / "metrics.jsonl") if row["split"] == "train"]
    assert rates == [0.0125, 0.0125]
    told = json.loads((child / "manifest.json").read_text())["parent"]
    assert (told["run"], told["checkpoint"]) == (str(parent), "step-00000004")
    assert told["sha256"] == sha256_of(second(parent) / "checkpoint.json")
    assert told["changed"]["optimizer.lr"] == [0.001, 0.0125]
    assert "name" not in told["changed"]
    again = tiny_run(*options, f"trainer.resume={child}/checkpoints/step-00000008").run_dir
    manifest = json.loads((again / "manifest.json").read_text())
    assert again == child and manifest["parent"] == told and len(manifest["resumed"]) == 1


def test_a_run_directory_stands_for_its_last_checkpoint(tiny_run: Run, parent: Path) -> None:
    child = tiny_run(*STATEFUL, "trainer.epochs=4", f"trainer.start_from={parent}").run_dir
    assert [row["epoch"] for row in read_rows(child / "metrics.jsonl")] == [4, 4]


@pytest.mark.parametrize("override, words", [
    ("trainer.epochs=1", "has 1 epochs done.*trainer.epochs=2 or more"),
    ("optimizer=sgd", "trained with adamw; type optimizer=adamw"),
    ("model.layer_sizes=[4,4,8,16]", "does not belong to this model"),
])  # fmt: skip
def test_what_cannot_begin_so_is_refused(
    tiny_run: Run, parent: Path, override: str, words: str
) -> None:
    with pytest.raises(CheckpointError, match=words):
        tiny_run(*STATEFUL, override, f"trainer.start_from={second(parent)}")


def test_a_checkpoint_within_an_epoch_is_refused(tiny_run: Run, parent: Path) -> None:
    with pytest.raises(CheckpointError, match=r"does not exist.*Give a run directory"):
        tiny_run(*STATEFUL, f"trainer.start_from={parent}/nothing")
    within = tiny_run(*STATEFUL, "trainer.checkpoint_steps=3", "trainer.keep_last=9").run_dir
    with pytest.raises(CheckpointError, match=r"stands within epoch 1.*end of an epoch"):
        tiny_run(*STATEFUL, f"trainer.start_from={within}/checkpoints/step-00000003")
    (within / "checkpoints").rename(within / "gone")
    write_json(within / "manifest.json", {"status": "interrupted"})
    with pytest.raises(CheckpointError, match="has no checkpoint"):
        tiny_run(*STATEFUL, f"trainer.start_from={within}")


@pytest.mark.parametrize("option", ["optimizer.weight_decay=0", "optimizer.layer_decay=0.5"])
def test_what_divides_the_weights_otherwise_cannot_take_the_optimizer_over(
    tiny_run: Run, parent: Path, option: str
) -> None:
    """Its state is told apart by the place of a weight alone."""
    with pytest.raises(CheckpointError, match=r"groups of weights: .*optimizer.layer_decay"):
        tiny_run(*STATEFUL, option, f"trainer.start_from={second(parent)}")
