"""An image with something to change in it, and many views of it under an augmentation."""

from __future__ import annotations

from dataclasses import replace

import torch

from experiments.config.augment import AugmentConfig
from experiments.data.info import ImageInfo
from experiments.data.seeding import seed_generators
from experiments.data.transforms import build_train_transform

RGB = ImageInfo(3, 32, (0.4, 0.5, 0.6), (0.2, 0.25, 0.3), 32)
GREY = replace(RGB, channels=1, mean=(0.4,), std=(0.2,))


def photograph(channels: int = 3, side: int = 32) -> torch.Tensor:
    """A smooth uint8 image with some noise, so that every operation has something to change."""
    ramp = torch.linspace(0, 200, side)
    image = torch.stack(
        [ramp.expand(side, side), ramp.expand(side, side).T, ramp.flip(0).expand(side, side)]
    )[:channels]
    noise = torch.rand(image.shape, generator=torch.Generator().manual_seed(0)) * 40
    return (image + noise).to(torch.uint8)


def views(options: dict, info: ImageInfo, image, count: int = 20) -> list[torch.Tensor]:
    pipeline = build_train_transform(AugmentConfig(**options), info)
    result = []
    for seed in range(count):
        seed_generators(seed)
        result.append(pipeline(image))
    return result
