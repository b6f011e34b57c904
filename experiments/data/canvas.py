"""Pictures with exact masks, without a download: real digits or garments on textured canvases."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from experiments.config.data import DataConfig
from experiments.data.containers import Datasets, ImageDataset
from experiments.data.masks import CLASS, MASK
from experiments.data.seeding import derive_seed
from experiments.data.splits import TEST_FRACTION, TEST_SEED
from experiments.errors import ConfigError

COUNT = 5000
SIZE = 64
LEAST = 48  # a digit has 28 or 32 pixels: on less there is no room for four
SOURCE = "mnist5k"
MOST_OBJECTS = 4
FOREGROUND = 64  # of 255: from there on a pixel of an object is pasted
_STREAMS = {"train": 0, "validation": 1, "test": 2}


class CanvasImages:
    """Items (image (1, S, S), mask (S, S)), uint8, made from (seed, stream, index) alone.

    A canvas is a smooth texture with noise, of 20 to 140. One to `most` objects, each of its own
    brightness, lie anywhere on it, a later one on top of an earlier one. Where an object has a
    value of 64 or more it is pasted, and the mask there is 1 + its class; 0 is the background.

    objects: items (image (1, H, W) uint8, class).
    """

    targets_are = MASK

    def __init__(
        self,
        objects: ImageDataset,
        count: int,
        size: int,
        seed: int = 0,
        stream: int = 0,
        most: int = MOST_OBJECTS,
    ) -> None:
        self.objects, self.count, self.size, self.most = objects, count, size, most
        self.seed, self.stream = seed, stream
        names = [str(name) for name in getattr(objects, "classes", range(10))]
        self.classes = ["background", *names]

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        draw = np.random.default_rng(derive_seed(self.seed, self.stream, index))
        image = _texture(draw, self.size)
        mask = np.zeros((self.size, self.size), np.uint8)
        for _ in range(draw.integers(1, self.most, endpoint=True)):
            pixels, label = self.objects[int(draw.integers(len(self.objects)))]
            shape = pixels[0].numpy()
            top, left = (int(draw.integers(self.size - side + 1)) for side in shape.shape)
            place = np.s_[top : top + shape.shape[0], left : left + shape.shape[1]]
            solid = shape >= FOREGROUND
            image[place][solid] = shape[solid] * draw.uniform(0.6, 1)
            mask[place][solid] = 1 + label
        return torch.from_numpy(image.round().astype(np.uint8))[None], torch.from_numpy(mask)


class CanvasLabels(CanvasImages):
    """The same canvases with the classes that can be seen on each: a vector of 0 and 1, uint8."""

    targets_are = CLASS

    def __init__(self, *canvases: Any) -> None:
        super().__init__(*canvases)
        self.classes = self.classes[1:]  # the background is none

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image, mask = super().__getitem__(index)
        seen = torch.zeros(1 + len(self.classes), dtype=torch.uint8)
        seen[mask.unique().long()] = 1
        return image, seen[1:]


def _texture(draw: np.random.Generator, size: int) -> np.ndarray:
    """Random values on a coarse grid, interpolated, and noise. Shape: (size, size), 20 to 140."""
    cells = int(draw.integers(2, 9))
    grid = draw.uniform(40, 120, (cells, cells))
    at = np.linspace(0, cells - 1, size)
    low = np.minimum(at.astype(int), cells - 2)
    part = at - low
    rows = grid[low] * (1 - part)[:, None] + grid[low + 1] * part[:, None]
    smooth = rows[:, low] * (1 - part) + rows[:, low + 1] * part
    noisy: np.ndarray = smooth + draw.uniform(-20, 20, (size, size))
    return noisy


def make_canvases(cfg: DataConfig, objects: Datasets) -> Datasets:
    """Return canvases of each split with the objects of that split alone.

    Of data.count canvases a fifth is the test split, the same ones for any data.split_seed, and
    data.validation_fraction of the others validation.

    Raises: ConfigError for a canvas that is too small, and for a split without canvases.
    """
    size = cfg.square() or SIZE
    if size < LEAST:
        raise ConfigError(f"data.image_size={size}: a canvas has {LEAST} pixels a side or more")
    count = COUNT if cfg.count is None else cfg.count
    test = round(TEST_FRACTION * count)
    validation = round(cfg.validation_fraction * (count - test))
    train = count - test - validation
    if min(train, validation, test) < 1:
        raise ConfigError(
            f"data.count={count}: {train} canvases for training, {validation} for validation and "
            f"{test} for testing; give more, for example data.count=100"
        )
    if cfg.train_size is not None and cfg.train_size > train:
        raise ConfigError(
            f"data.train_size={cfg.train_size}: data.count={count} makes {train} training "
            "canvases; give at most that many, or a larger data.count"
        )
    counts = {"train": cfg.train_size or train, "validation": validation, "test": test}
    seeds = {"train": cfg.split_seed, "validation": cfg.split_seed, "test": TEST_SEED}
    most = MOST_OBJECTS if cfg.objects is None else cfg.objects
    kind = CanvasLabels if cfg.target == "labels" else CanvasImages
    return Datasets(
        *(
            kind(getattr(objects, split), counts[split], size, seeds[split], stream, most)
            for split, stream in _STREAMS.items()
        )
    )
