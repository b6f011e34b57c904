"""Transforms of one image and of a batch, assembled from torchvision and timm."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from timm.data.random_erasing import RandomErasing
from torch import Tensor, nn
from torchvision import tv_tensors
from torchvision.transforms import v2

from experiments.config.augment import AugmentConfig
from experiments.data.images import is_deep
from experiments.data.info import ImageInfo
from experiments.data.pixels import to_tensor
from experiments.data.policies import EIGHT_BITS, build_policy, require_colours
from experiments.data.resizing import fit, in_training, padding, random_size
from experiments.errors import ConfigError, DataError
from models.description import Preprocessing


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
    replaces 0.875, and is then for all. data.resize=pad and squash cut nothing off.

    Shapes: PIL image or (..., C, H, W) -> (..., channels, *info.sides).
    Units: (pixel in [0, 1] - mean) / std, float32.
    """
    return transform_of(info.preprocessing, info.channels)


def transform_of(rule: Preprocessing, channels: int) -> Pipeline:
    """Return the transform of images that a description asks for; see `build_eval_transform`."""
    return Pipeline(v2.Compose([ToChannels(channels), fit(rule)]), normalise(rule), False)


def build_train_transform(cfg: AugmentConfig, info: ImageInfo) -> Pipeline:
    """Return the transform of one training image; with everything off, that of evaluation.

    Order: channels, size (at random or that of evaluation), padded crop, flips, quarter turn,
    rotation, policy, colour jitter, erasing, normalisation. augment.size is the side of random
    crops; without one, of a window at random out of the image (padded by crop_padding) that
    evaluation sees. Erasing by timm (erasing_mode other than mean) comes last: it fills rectangles
    of the normalised image with 0 (const), or with a colour (rand) or pixels (pixel) drawn from
    N(0, 1).

    Shapes and units: those of `build_eval_transform`, for a single image, but for augment.size.

    Raises: ConfigError for padding not smaller than the image, for a window larger than it, for a
    policy or colour jitter on images that have neither 1 nor 3 channels, and for a policy on more
    than 8 bits.
    """
    trained = in_training(cfg, info)
    sized = random_size(cfg, trained)
    given = trained.sides if sized else info.sides
    places = moves(cfg, given, trained.sides, _rotation)
    random = [*places, *colours(cfg, trained), *erasing(cfg, trained)]
    first = ToChannels(info.channels, cfg.policy != "none")
    changes = v2.Compose([first, *(sized or [fit(info.preprocessing)]), *random])
    last = nn.Identity() if erases_normalised(cfg) else normalise(info)
    return Pipeline(changes, last, bool(sized or random))


def moves(
    cfg: AugmentConfig,
    given: tuple[int, ...],
    sides: tuple[int, ...],
    rotation: Callable[[float], nn.Module],
) -> Iterator[nn.Module]:
    """Padded crop, flips, quarter turn and rotation, those of them that augment has.

    given: (height, width) of the images that come; sides: of those that leave.
    """
    padded = cfg.crop_padding and cfg.crop != "simple"  # which pads by itself
    if padded or sides != given:
        yield v2.RandomCrop(sides, padding(cfg, given), padding_mode="reflect")
    yield from flips(cfg)
    if cfg.rot90:
        if len(set(sides)) > 1:
            raise ConfigError(
                f"augment.rot90=true: turns images of {sides[0]} x {sides[1]} (H x W) into others "
                "of another shape; type augment.rot90=false"
            )
        yield QuarterTurn()
    if cfg.rotation:
        yield rotation(cfg.rotation)


def _rotation(degrees: float) -> nn.Module:
    return v2.RandomRotation(degrees, v2.InterpolationMode.BILINEAR)


def flips(cfg: AugmentConfig) -> Iterator[nn.Module]:
    """Mirroring of half of the images, left to right and top to bottom."""
    if cfg.horizontal_flip:
        yield v2.RandomHorizontalFlip()
    if cfg.vertical_flip:
        yield v2.RandomVerticalFlip()


class QuarterTurn(v2.Transform):
    """A turn of the last two axes by 0, 90, 180 or 270 degrees, of half of the images a transposed
    one: the eight symmetries of a square, each as often."""

    def make_params(self, flat_inputs: list[Any]) -> dict[str, int]:
        return {"turns": int(torch.randint(4, ())), "transposed": int(torch.randint(2, ()))}

    def transform(self, inpt: Tensor, params: dict[str, int]) -> Tensor:
        moved = torch.rot90(inpt, params["turns"], (-2, -1))
        moved = moved.transpose(-2, -1) if params["transposed"] else moved
        return tv_tensors.wrap(moved, like=inpt)


def colours(cfg: AugmentConfig, info: ImageInfo) -> Iterator[nn.Module]:
    """The policy and the colour jitter of augment: pixels that stay where they are, but for those
    of a policy."""
    if cfg.policy != "none":
        yield build_policy(cfg, info)
    if jitter := cfg.colour_jitter:
        require_colours(f"augment.colour_jitter={jitter}", info, "augment.colour_jitter=0")
        yield v2.ColorJitter(brightness=jitter, contrast=jitter, saturation=jitter)


def erases_normalised(cfg: AugmentConfig) -> bool:
    """Whether erasing is timm's, of normalised images."""
    return bool(cfg.erasing) and cfg.erasing_mode != "mean"


def erasing(cfg: AugmentConfig, info: ImageInfo) -> Iterator[Callable[[Any], Any]]:
    """Random erasing: before normalisation, or by timm after it."""
    if erases_normalised(cfg):
        yield normalise(info)
        yield RandomErasing(
            cfg.erasing, mode=cfg.erasing_mode, max_count=cfg.erasing_count, device="cpu"
        )
    elif cfg.erasing:
        # Before normalisation, which maps the mean to 0: the same as erasing by 0 after it.
        yield v2.ToDtype(torch.float32, scale=True)
        yield v2.RandomErasing(cfg.erasing, value=list(info.mean))


def normalise(rule: ImageInfo | Preprocessing) -> v2.Compose:
    """From pixels of any depth to (pixel in [0, 1] - mean) / std, float32."""
    return v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize(rule.mean, rule.std)])
