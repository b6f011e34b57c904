"""A run begins with the weights of another: fine-tuning, with a frozen body or all of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from experiments.app import run
from experiments.config.compose import load_config
from experiments.config.resume import complete
from experiments.errors import ConfigError
from experiments.runs.ending import Result
from experiments.training.tensor_files import sha256_of
from tests.experiments.conftest import TINY

Run = Callable[..., Result]
UNTESTED = "trainer.test=false"


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("parent")
    return run(load_config("cifar", [*TINY, UNTESTED, f"runs_dir={folder}"])).run_dir


def manifest(result: Result) -> Any:
    return json.loads((result.run_dir / "manifest.json").read_text())


def test_fine_tuning_to_other_classes_moves_the_head_alone(tiny_run: Run, parent: Path) -> None:
    options = ["data.num_classes=12", "model.freeze=body", "optimizer.layer_decay=0.5"]
    child = tiny_run(UNTESTED, f"model.weights={parent}", *options)
    told = manifest(child)
    assert told["weights"]["notes"][0] == "a new head for 12 classes, where there were 10"
    assert told["weights"]["sha256"] == sha256_of(parent / "best.safetensors")
    before, after = (load_file(run / "best.safetensors") for run in (parent, child.run_dir))
    body = {key for key in before if not key.startswith("head.")}
    assert all(torch.equal(before[key], after[key]) for key in body)
    frozen = [before[k].numel() for k in body if "running" not in k and "num_batches" not in k]
    assert told["frozen"]["parameters"] == sum(frozen) < told["parameters"]


def test_a_resumed_run_needs_the_weights_no_more(
    tiny_run: Run, parent: Path, tmp_path: Path
) -> None:
    file = tmp_path / "mine.safetensors"
    save_file(load_file(parent / "best.safetensors"), file)
    options = [UNTESTED, f"model.weights={file}", "trainer.resume=auto", "trainer.ema_decay=0.5"]
    child = tiny_run(*options, "optimizer.lr=1e-9")
    state = load_file(child.run_dir / "best.safetensors")
    body = {key: value for key, value in load_file(file).items() if key.endswith("_weight")}
    assert all(torch.allclose(value, state[key], atol=1e-6) for key, value in body.items())
    record = manifest(child)
    assert record["weights"]["source"] == str(file) and len(record["weights"]["taken"]) == 37
    file.unlink()
    (child.run_dir / "manifest.json").write_text(json.dumps({**record, "status": "failed"}))
    again = tiny_run(*options[:2], "trainer.ema_decay=0.5", "optimizer.lr=1e-9",
                     f"trainer.resume={child.run_dir}")  # fmt: skip
    assert again.run_dir == child.run_dir and manifest(again)["weights"] == record["weights"]


@pytest.mark.parametrize("options, words", [
    (["model.weights=nothing.safetensors"], "no file and no folder; give a run, a file of weights"),
    (["model.weights=''"], "names weights, or is null"),
    (["model.freeze=head"], "model.freeze='head' is not known"),
    (["model=simple_conv", "model.freeze=bases"], "functions of ConvNet have no shape"),
    (["trainer.weights=x"], "did you mean 'model.weights'"),
])  # fmt: skip
def test_what_cannot_be_begun_with_is_a_sentence(
    tiny_run: Run, options: list[str], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        tiny_run(*options)


def test_an_earlier_config_says_where_its_weights_were() -> None:
    saved = {"trainer": {"weights": "x.npz"}, "model": {"name": "vit"}, "loss": None}
    whole = complete(saved)
    assert whole["model"]["weights"] == "x.npz" and "weights" not in whole["trainer"]
