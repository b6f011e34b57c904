"""What a run makes of its config before the first step."""

from __future__ import annotations

import json
import runpy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from experiments.config.compose import load_config
from experiments.data import load_datasets
from experiments.errors import ConfigError
from experiments.runs.setup import script_of, training_loader
from experiments.tasks.base import create_task
from experiments.training.tensor_files import sha256_of
from models import create_model
from models.description import Description, read_note

Run = Callable[..., Any]
AUGMENTED = ["data=digits", "data.image_size=16", "augment=basic", "augment.mixup=1.0"]


def first_batch(*overrides: str) -> tuple[torch.Tensor, torch.Tensor]:
    config = load_config("cifar", [*AUGMENTED, "trainer.batch_size=32", *overrides])
    data = load_datasets(config.data)
    task = create_task(config, data)
    loader = training_loader(config, task, data.train, rank=0, world_size=1)
    return next(iter(loader.epoch(0)))[0]


def test_batches_that_are_learnt_by_heart_stay_as_they_are() -> None:
    images, targets = first_batch("trainer.overfit_batches=1")
    plain, labels = first_batch("augment.mixup=0", "augment.crop_padding=0",
                                "augment.horizontal_flip=false")  # fmt: skip
    assert torch.equal(images, plain) and torch.equal(targets, labels)
    mixed, shares = first_batch()
    assert not torch.equal(mixed, plain) and shares.shape == (32, 10)


def test_a_run_describes_the_network_that_its_weights_fit(tiny_run: Run) -> None:
    run = tiny_run("data.image_size=10").run_dir
    described = json.loads((run / "manifest.json").read_text())["description"]
    with safe_open(run / "best.safetensors", "pt") as file:
        text, inside = read_note(file.metadata()["note"])
    assert text.startswith("epoch ") and "validation accuracy" in text
    assert inside is not None and inside.to_dict() == described
    model = create_model(
        inside.model, num_classes=inside.num_classes, input_channels=inside.input_channels,
        **inside.options,
    ).eval()  # fmt: skip
    model.load_state_dict(load_file(run / "best.safetensors"))
    assert model(torch.zeros(1, *inside.input_shape)).shape == (1, len(inside.class_names))
    rule = inside.preprocessing
    assert rule is not None and (rule.size, rule.resize) == (10, 10)
    config = load_config("cifar", ["data=digits", "data.image_size=10"])
    info = create_task(config, load_datasets(config.data)).info  # type: ignore[attr-defined]
    several = replace(info, native_size=None)  # images of several sizes lose their margins
    assert (several.preprocessing.size, several.preprocessing.resize) == (10, 11)
    asked = create_task(
        load_config("cifar", ["data=digits", "data.crop_ratio=0.5", "data.interpolation=bicubic"]),
        load_datasets(config.data),
    ).describe()["preprocessing"]
    assert (asked.size, asked.resize, asked.interpolation) == (32, 64, "bicubic")
    assert Description.from_dict(described).task == "classification"


def test_the_script_is_that_of_the_data() -> None:
    script = Path(__file__).parents[3] / "cifar.py"
    module = runpy.run_path(str(script), run_name="cifar")
    assert script_of(load_datasets) == {}
    import cifar

    assert script_of(cifar.get_data) == {"path": str(script), "sha256": sha256_of(script)}
    assert script_of(module["get_data"]) == script_of(cifar.get_data)


SMALL = "simple_conv_kagn layer_sizes=[4,8,8,16] head=linear"


def test_a_run_records_what_was_matched(tiny_run: Run) -> None:
    run = tiny_run("model=simple_conv", f'model.match="{SMALL}"').run_dir
    manifest = json.loads((run / "manifest.json").read_text())
    found = manifest["match"]
    assert found["reference"] == SMALL and found["by"] == "parameters"
    assert manifest["parameters"] == found["size"]
    assert found["size"] == pytest.approx(found["reference_size"], rel=0.02)
    assert manifest["is_kan"] is False
    options = manifest["description"]["options"]
    assert options["layer_sizes"] == found["options"]["layer_sizes"] and "match" not in options


def test_a_wrong_reference_is_refused_before_anything_starts() -> None:
    with pytest.raises(ConfigError, match="nearest are simple_conv_kagn"):
        load_config("cifar", ["model=simple_conv", "model.match=simple_conv_kagm"])
