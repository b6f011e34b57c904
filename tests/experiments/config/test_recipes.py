"""Every experiment file opens with a command that composes, and says where it runs and scores."""

from __future__ import annotations

import functools
import re
import shlex
from pathlib import Path

import pytest
import torch

from experiments.config.compose import CONFIG_DIR, load_config
from experiments.config.schema import Config
from models import create_model, list_models
from models.complexity import count_parameters

FILES = sorted(p for p in CONFIG_DIR.glob("experiment/*.yaml") if not p.stem.startswith("_"))
CLASSES = {"imagenet": 1000, "tiny_imagenet": 200, "cifar100": 100, "cifar10": 10, "digits": 10}


@functools.cache
def composed(file: Path) -> Config:
    """The config of the command with which a file opens."""
    first, command = file.read_text().splitlines()[:2]
    assert first == "# @package _global_"
    words = shlex.split(command)
    assert words[:3] == ["#", "accelerate", "launch"] and f"experiment={file.stem}" in words
    return load_config(words[3].removesuffix(".py"), words[4:])


@pytest.mark.parametrize("file", FILES, ids=lambda p: p.stem)
def test_an_experiment_is_its_command(file: Path) -> None:
    config = composed(file)
    assert config.name == file.stem
    assert config.model["name"] in list_models()
    text = re.match(r"(#.*\n)+", file.read_text())[0].replace("\n#", "")
    assert re.search(r"GPU|CPU", text), "on what it runs"
    assert re.search(r"[\d.]+ % (top-1|test accuracy)|No score", text), "what it scores"


@pytest.mark.parametrize("file", FILES, ids=lambda p: p.stem)
def test_a_recipe_builds_the_network_that_it_names(file: Path) -> None:
    config = composed(file)
    options = {key: value for key, value in config.model.items() if key != "name"}
    with torch.device("meta"):
        model = create_model(
            config.model["name"], num_classes=CLASSES[config.data.name],
            input_channels=1 if config.data.name == "digits" else 3, **options,
        )  # fmt: skip
    told = re.search(r"([\d,]+) parameters", file.read_text())
    if told is not None:
        assert count_parameters(model) == int(told[1].replace(",", ""))


def test_published_imagenet_recipes_differ_in_what_was_published() -> None:
    for name, lr in (("vgg_kagn11_v2", 9e-4), ("vgg_kagn11_v4", 9e-4), ("vgg_kagn_bn11_v4", 5e-4)):
        config = composed(CONFIG_DIR / "experiment" / f"{name}.yaml")
        assert (config.optimizer.lr, config.optimizer.weight_decay) == (lr, 5e-6)
        assert (config.scheduler.warmup, config.scheduler.power) == (7500, 0.3)
        assert (config.loss.name, config.loss.gamma, config.trainer.epochs) == ("focal", 1.5, 200)
        assert config.augment.random_resized_crop == 0.08 and config.augment.crop_padding == 0
    hub = load_config("imagenet", ["experiment=vgg_kagn11_v2", "data=imagenet_hub"])
    assert hub.data.name == "imagenet_hub"  # the command line has the last word
