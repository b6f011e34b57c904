"""Real digits with several labels: one to three of scikit-learn's in the corners of a canvas.

    python tests/experiments/tasks/several.py [KEY=VALUE ...]

is cifar.py on them.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

CORNERS = [(0, 0), (0, 8), (8, 0), (8, 8)]


def corners(count: int, digits: np.ndarray, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Canvases (N, 1, 16, 16) uint8 of these digits alone, and 0/1 vectors (N, 10)."""
    draw = np.random.default_rng(seed)
    source = load_digits()
    images = np.zeros((count, 1, 16, 16), np.uint8)
    labels = np.zeros((count, 10), np.int64)
    for canvas, present in zip(images[:, 0], labels, strict=True):
        places = draw.permutation(4)[: draw.integers(1, 4)]
        for place, digit in zip(places, draw.choice(digits, len(places)), strict=True):
            top, left = CORNERS[place]
            canvas[top : top + 8, left : left + 8] = source.images[digit] * 15
            present[source.target[digit]] = 1
    return torch.from_numpy(images), torch.from_numpy(labels)


def get_data(cfg=None, counts=(1500, 200, 300)):
    """Of each split digits of its own."""
    parts = np.split(np.random.default_rng(0).permutation(1797), [1200, 1400])
    return tuple(
        corners(count, part, seed)
        for seed, (count, part) in enumerate(zip(counts, parts, strict=True))
    )


if __name__ == "__main__":
    from experiments.app import launch

    launch("cifar", get_data)
