"""Loaders of training images for tests, and images that are told by their number."""

from __future__ import annotations

import torch

from experiments.config.augment import AugmentConfig
from experiments.data import ImageInfo, Sampling, TrainLoader
from experiments.data.containers import TensorImages
from experiments.tasks.classification import class_recipe


def numbered(count: int) -> TensorImages:
    """Images of one pixel that holds the image's number; every third number is a class."""
    numbers = torch.arange(count)
    images = numbers.to(torch.uint8).reshape(-1, 1, 1, 1)
    return TensorImages(images, numbers % 3, ["a", "b", "c"])


# Undoes the normalisation: the pixel that reaches the model is the image's number.
NUMBERED = ImageInfo(1, 1, (0.0,), (1 / 255,), 1)


def train_loader(dataset, info, augment=None, workers=0, **options) -> TrainLoader:
    options = {"batch_size": 16, "accumulation": 1, "rank": 0, "world_size": 1, **options}
    options.setdefault("sampling", Sampling.of(options.pop("seed", 0), options.pop("repeats", 1)))
    recipe = class_recipe(info, classes_of(dataset, options), augment or AugmentConfig())
    return TrainLoader(dataset, recipe, workers=workers, **options)


def classes_of(dataset, options) -> int:
    return options.pop("num_classes", len(getattr(dataset, "classes", "abc")))


def flat(steps) -> list[torch.Tensor]:
    return [tensor for step in steps for micro_batch in step for tensor in micro_batch]


def assert_same(first, second) -> None:
    first, second = flat(first), flat(second)
    assert len(first) == len(second)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def numbers_of(steps) -> list[list[list[int]]]:
    return [[images.flatten().round().int().tolist() for images, _ in step] for step in steps]
