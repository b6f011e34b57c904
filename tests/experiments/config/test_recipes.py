"""Every experiment file opens with a command that composes, and says where it runs and scores."""

from __future__ import annotations

import functools
import re
import shlex
from pathlib import Path

import pytest
import torch
from timm.scheduler import CosineLRScheduler
from torch import nn

from experiments.config.beginning import without_beginning
from experiments.config.compose import CONFIG_DIR, load_config
from experiments.config.schema import Config
from experiments.training.optim import build_optimizer, build_scheduler
from models import create_model, list_models
from models.complexity import count_parameters

FILES = sorted(p for p in CONFIG_DIR.glob("experiment/*.yaml") if not p.stem.startswith("_"))
CLASSES = {"imagenet": 1000, "tiny_imagenet": 200, "cifar100": 100, "cifar10": 10, "digits": 10,
           "mnist": 10, "folder": 5, "canvas": 11,
           "mask_folder": 1}  # fmt: skip
# File -> images a process, processes, micro-batches: their product is an optimizer step's images.
BATCHES = {
    **{f"kat_{size}{init}": (128, 8, 1) for size in ("tiny", "small", "base")
       for init in ("", "_vit")},
    **{f"kan_deit_{size}": (1024, 1, 1) for size in ("tiny", "small", "base")},
    **{f"kansformer_{data}": (32, 1, 1) for data in ("mnist", "cifar10", "flowers")},
    "rational_kat_mnist": (128, 1, 1), "rational_kat_cifar10": (128, 1, 1),
    "published_cifar10": (128, 1, 1), "published_cifar100": (64, 1, 4),
    "published_tiny_imagenet": (256, 1, 1), "published_imagenet1k": (14, 1, 8),
    **{f"vgg_kagn{name}": (14, 1, 8) for name in ("11_v2", "11_v4", "_bn11_v4")},
    "quickstart": (64, 1, 1), "segmentation_quickstart": (8, 1, 1),
    **{f"ukagnet_{data}": (8, 1, 1) for data in ("busi", "cvc_clinicdb", "glas")},
}  # fmt: skip
IMAGES = 1_281_167  # of ImageNet's training split


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
    assert config.model["name"] in list_models(task=config.task.name)
    text = re.match(r"(#.*\n)+", file.read_text())[0].replace("\n#", "")
    assert re.search(r"GPU|CPU", text), "on what it runs"
    assert re.search(r"[\d.]+ % (top-1|test accuracy|test IoU)|No score", text), "what it scores"


@pytest.mark.parametrize("file", FILES, ids=lambda p: p.stem)
def test_a_recipe_builds_the_network_that_it_names(file: Path) -> None:
    config = composed(file)
    options = {k: v for k, v in without_beginning(config.model).items() if k != "name"}
    with torch.device("meta"):
        model = create_model(
            config.model["name"], num_classes=CLASSES[config.data.name],
            input_channels=1 if config.data.name in ("digits", "mnist", "canvas") else 3, **options,
        )  # fmt: skip
    told = re.search(r"([\d,]+) parameters", file.read_text().replace("\n#", ""))
    if told is not None:
        assert count_parameters(model) == int(told[1].replace(",", ""))


@pytest.mark.parametrize("file", FILES, ids=lambda p: p.stem)
def test_a_step_has_as_many_images_as_published(file: Path) -> None:
    trainer, (images, processes, micro_batches) = composed(file).trainer, BATCHES[file.stem]
    assert trainer.batch_size == images * processes * micro_batches
    assert trainer.accumulation == micro_batches


@pytest.mark.parametrize("file", [f for f in FILES if f.stem.startswith("kat_")],
                         ids=lambda p: p.stem)  # fmt: skip
def test_kat_is_trained_at_the_rates_of_timm(file: Path) -> None:
    """Of every epoch, by the defaults of timm's script but for what KAT's scripts name."""
    config, steps = composed(file), IMAGES // 1024
    theirs = CosineLRScheduler(
        torch.optim.SGD(nn.Linear(1, 1).parameters(), 1e-3), t_initial=300, warmup_t=5,
        warmup_lr_init=1e-5, lr_min=0.0,
    )  # fmt: skip
    optimizer = build_optimizer(nn.Linear(1, 1), config.optimizer)
    ours = build_scheduler(optimizer, config.scheduler, config.trainer.epochs * steps, steps)
    (rate, *_) = ours.lr_lambdas
    for epoch in range(300):
        theirs.step(epoch)
        (wanted,) = [group["lr"] for group in theirs.optimizer.param_groups]
        for step in (epoch * steps, epoch * steps + steps - 1):
            assert config.optimizer.lr * rate(step) == pytest.approx(wanted, rel=1e-12, abs=1e-15)


def test_what_the_scripts_of_transformers_name_is_what_they_are_trained_with() -> None:
    for name, drop in (("tiny", 0.1), ("small", 0.1), ("base", 0.4)):
        for init in ("", "_vit"):
            config = composed(CONFIG_DIR / "experiment" / f"kat_{name}{init}.yaml")
            assert config.model["drop_path"] == drop and config.trainer.ema_decay == 0.9999
            assert (config.optimizer.lr, config.optimizer.weight_decay) == (1e-3, 0.05)
            assert (config.augment.mixup, config.augment.cutmix) == (0.8, 1.0)
            assert config.loss.label_smoothing == 0.1 and config.trainer.max_grad_norm is None
            begin = config.model["weights"]
            assert (begin is None) if not init else begin.startswith(f"timm:vit_{name}_")
    for size, drop, seed in (("tiny", 0.0, 0), ("small", 0.0, 0), ("base", 0.05, 1)):
        config = composed(CONFIG_DIR / "experiment" / f"kan_deit_{size}.yaml")
        assert (config.model["drop_path"], config.seed) == (drop, seed)
        schedule = config.scheduler
        assert (schedule.lr_start, schedule.lr_end) == (1e-6, 1e-5) and not schedule.stairs
        steps = IMAGES / 1024
        assert schedule.steps(schedule.warmup, 1, int(steps)) == pytest.approx(5 * steps, rel=1e-3)


def test_published_imagenet_recipes_differ_in_what_was_published() -> None:
    for name, lr in (("vgg_kagn11_v2", 9e-4), ("vgg_kagn11_v4", 9e-4), ("vgg_kagn_bn11_v4", 5e-4)):
        config = composed(CONFIG_DIR / "experiment" / f"{name}.yaml")
        assert (config.optimizer.lr, config.optimizer.weight_decay) == (lr, 5e-6)
        assert (config.scheduler.warmup, config.scheduler.power) == (7500, 0.3)
        assert (config.loss.name, config.loss.gamma, config.trainer.epochs) == ("focal", 1.5, 200)
        assert config.augment.random_resized_crop == 0.08 and config.augment.crop_padding == 0
    hub = load_config("imagenet", ["experiment=vgg_kagn11_v2", "data=imagenet_hub"])
    assert hub.data.name == "imagenet_hub"  # the command line has the last word
