"""What a run makes of its config before the first step."""

from __future__ import annotations

import torch

from experiments.config.compose import load_config
from experiments.data import load_datasets
from experiments.runs.setup import training_loader
from experiments.tasks.base import create_task

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
