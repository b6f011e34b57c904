"""Transforms of one image and of a batch, assembled from torchvision and timm."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from timm.data.random_erasing import RandomErasing
from torch import Tensor, nn
from torchvision.transforms import v2

from experiments.config.augment import AugmentConfig
from experiments.data.images import is_deep
from experiments.data.info import ImageInfo
from experiments.data.pixels import to_tensor
from experiments.data.policies import EIGHT_BITS, build_policy, require_colours
from experiments.data.resizing import fit, padding, random_size
from experiments.errors import DataError


class ToChannels(nn.Module):
    """Bring what a dataset gives to a tensor with info.channels channels, of 8 bits if told so.

    Raises: DataError for an image of more than 8 bits that what follows would cut to 8.
    """

    def __init__(self, channels: int, eight_bits: bool = False) -> None:
        super().__init__()
        self.channels, self.eight_bits = channels, eight_bits

    def forward(self, image: Any) -> Tensor:
        if self.eight_bits and isinstance(image, Tensor) and is_deep(image):
            raise DataError(EIGHT_BITS)
        return to_tensor(image, self.channels)


@dataclass(frozen=True)
class Pipeline:
    """What happens to an image between the dataset and the model.

    `changes` brings one image to its channels and size and changes it at random; a batch too if
    not `random`. `normalise` takes one or many: for whole batches it costs little.
    """

    changes: v2.Compose
    normalise: nn.Module
    random: bool

    def __call__(self, image: Any) -> Tensor:
        normalised: Tensor = self.normalise(self.changes(image))
        return normalised


def build_eval_transform(info: ImageInfo) -> Pipeline:
    """Return the transform of validation and test images; it takes one image or a batch.

    Stored images that are all square and of one size are resized to info.image_size; others have
    their shorter side resized to image_size / 0.875 and their centre cropped. data.crop_ratio
    replaces 0.875, and is then for all.

    Shapes: PIL image or (..., C, H, W) -> (..., channels, image_size, image_size).
    Units: (pixel in [0, 1] - mean) / std, float32.
    """
    return Pipeline(v2.Compose([ToChannels(info.channels), fit(info)]), _normalise(info), False)


def build_train_transform(cfg: AugmentConfig, info: ImageInfo) -> Pipeline:
    """Return the transform of one training image; with everything off, that of evaluation.

    Order: channels, size (at random or that of evaluation), padded crop, flip, rotation, policy,
    colour jitter, erasing, normalisation. Erasing by timm (erasing_mode other than mean) comes
    last: it fills rectangles of the normalised image with 0 (const), or with a colour (rand) or
    pixels (pixel) drawn from N(0, 1).

    Shapes and units: those of `build_eval_transform`, for a single image.

    Raises: ConfigError for padding not smaller than the image, for a policy or colour jitter on
    images that have neither 1 nor 3 channels, and for a policy on more than 8 bits.
    """
    sized = random_size(cfg, info)
    random = [*_moves(cfg, info.image_size), *_colours(cfg, info), *_erasing(cfg, info)]
    first = ToChannels(info.channels, cfg.policy != "none")
    changes = v2.Compose([first, *(sized or [fit(info)]), *random])
    normalise = nn.Identity() if _erases_normalised(cfg) else _normalise(info)
    return Pipeline(changes, normalise, bool(sized or random))


def _moves(cfg: AugmentConfig, side: int) -> Iterator[nn.Module]:
    if cfg.crop_padding and cfg.crop != "simple":  # which pads by itself
        yield v2.RandomCrop(side, padding(cfg, side), padding_mode="reflect")
    if cfg.horizontal_flip:
        yield v2.RandomHorizontalFlip()
    if cfg.rotation:
        yield v2.RandomRotation(cfg.rotation, v2.InterpolationMode.BILINEAR)


def _colours(cfg: AugmentConfig, info: ImageInfo) -> Iterator[nn.Module]:
    if cfg.policy != "none":
        yield build_policy(cfg, info)
    if jitter := cfg.colour_jitter:
        require_colours(f"augment.colour_jitter={jitter}", info, "augment.colour_jitter=0")
        yield v2.ColorJitter(brightness=jitter, contrast=jitter, saturation=jitter)


def _erases_normalised(cfg: AugmentConfig) -> bool:
    return bool(cfg.erasing) and cfg.erasing_mode != "mean"


def _erasing(cfg: AugmentConfig, info: ImageInfo) -> Iterator[Callable[[Any], Any]]:
    if _erases_normalised(cfg):
        yield _normalise(info)
        yield RandomErasing(
            cfg.erasing, mode=cfg.erasing_mode, max_count=cfg.erasing_count, device="cpu"
        )
    elif cfg.erasing:
        # Before normalisation, which maps the mean to 0: the same as erasing by 0 after it.
        yield v2.ToDtype(torch.float32, scale=True)
        yield v2.RandomErasing(cfg.erasing, value=list(info.mean))


def _normalise(info: ImageInfo) -> v2.Compose:
    return v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize(info.mean, info.std)])
