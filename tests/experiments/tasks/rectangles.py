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

from experiments.data.masks import IGNORE, TensorMasks


def rectangles(count, *, classes=3, size=(16, 16), ignore=False, channels=1, seed=0):
    """A rectangle of class 1, 2, ... in each image, as bright as its class, on noise.

    With ignore the first row of every mask is to be ignored.
    """
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
            masks[i, 0] = IGNORE
    names = ["background", *(f"box {label}" for label in range(1, classes))]
    data = TensorMasks(images.to(torch.uint8), masks.to(torch.uint8), names)
    data.ignore_index = IGNORE if ignore else None
    return data


def splits(train=48, **options):
    return lambda cfg: tuple(
        rectangles(count, seed=seed, **options) for seed, count in enumerate((train, 16, 13))
    )


if __name__ == "__main__":
    from experiments.app import launch
    from tests.experiments.training.resume_driver import kill_from_arguments

    kill_from_arguments(sys.argv)
    launch("segmentation", splits())
