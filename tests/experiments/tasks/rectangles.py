"""Rectangles of several classes on noise, in two or three dimensions, for tests of segmentation.

    python tests/experiments/tasks/rectangles.py [KEY=VALUE ...]

is segmentation.py on them; with a first argument [step, micro-batch, rank, signal] a process is
sent a signal, as tests/experiments/training/resume_driver.py says.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

IGNORED = 255


class Masks:
    """Images (N, C, *S) uint8 and masks (N, *S) of class indices, in memory."""

    targets_are = "masks"

    def __init__(self, images, targets, classes, ignore_index=None):
        self.images, self.targets = images, targets
        self.classes, self.ignore_index = list(classes), ignore_index

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.images[index], self.targets[index]


def rectangles(count, *, classes=3, size=(16, 16), ignore=False, channels=1, seed=0):
    """A rectangle of class 1, 2, ... in each image, as bright as its class, on noise."""
    generator = torch.Generator().manual_seed(seed)

    def draw(low, high):
        return int(torch.randint(low, high, (), generator=generator))

    images = torch.randint(0, 60, (count, channels, *size), generator=generator)
    masks = torch.zeros(count, *size, dtype=torch.int64)
    for i in range(count):
        label = i % (classes - 1) + 1
        box = []
        for side in size:
            start = draw(0, side // 2)
            box.append(slice(start, start + draw(side // 4, side // 2)))
        masks[(i, *box)] = label
        images[(i, slice(None), *box)] += 180 * label // (classes - 1)
        if ignore:
            masks[i, 0] = IGNORED
    names = ["background", *(f"box {label}" for label in range(1, classes))]
    return Masks(images.to(torch.uint8), masks, names, IGNORED if ignore else None)


def splits(train=48, **options):
    return lambda cfg: tuple(
        rectangles(count, seed=seed, **options) for seed, count in enumerate((train, 16, 13))
    )


if __name__ == "__main__":
    from experiments.app import launch
    from tests.experiments.training.resume_driver import kill_from_arguments

    kill_from_arguments(sys.argv)
    launch("segmentation", splits())
