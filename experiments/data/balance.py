"""The order of an epoch that takes as many images of each class."""

from __future__ import annotations

import numpy as np
import torch


def draw_equally(classes: np.ndarray, generator: torch.Generator) -> np.ndarray:
    """N samples of N images, N // K or one more of each of the K classes, shuffled.

    Of a class of n images all are taken before one is taken again: sample i + c * N is copy c of
    image i (see BatchKey), with changes of its own. Which classes have the one more, and which
    images of a large class an epoch takes, is drawn anew for each.

    Shapes: classes (N,) -> (N,).
    """
    images, labels = len(classes), np.unique(classes)
    share, rest = divmod(images, len(labels))
    more = torch.randperm(len(labels), generator=generator)[:rest].tolist()
    samples = []
    for place, label in enumerate(labels):
        own, wanted = np.flatnonzero(classes == label), share + (place in more)
        for copy in range(-(-wanted // len(own))):
            order = torch.randperm(len(own), generator=generator).numpy()
            samples.append(own[order][: wanted - copy * len(own)] + copy * images)
    drawn = np.concatenate(samples)
    return drawn[torch.randperm(len(drawn), generator=generator).numpy()]
