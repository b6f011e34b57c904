"""What a model and the transforms must know about the images of a dataset."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from experiments.config.data import DataConfig
from experiments.data.containers import ImageDataset, in_memory, locate
from experiments.data.images import is_deep
from experiments.data.masks import CLASS, IGNORE, MASK, target_kind
from experiments.data.pixels import channels_of, to_tensor
from experiments.data.volumes import check_volumes
from experiments.errors import DataError
from models.description import Preprocessing, pair_of

SIZE_SAMPLE = 64  # images looked at to learn channels and size
STATISTICS_SAMPLE = 256  # images averaged when they are not in memory
CROP_RATIO = 0.875  # of the shorter side that evaluation keeps, as published for ImageNet
DEPTH = 2**16 - 1  # the largest value of 16 bits


@dataclass(frozen=True)
class ImageInfo:
    """Shape and statistics of the images that reach the model. Units: mean, std of [0, 1] pixels.

    `native_size` is the side of the stored images (height and width where image_size has both), or
    None if they are of several; of another shape than image_size, evaluation resizes the shorter
    side to image_size / 0.875 and crops the centre. A
    crop_ratio replaces 0.875, and is for equal squares too. deep: some have more than 8 bits a
    channel, as far as the sample shows.
    """

    channels: int
    image_size: int | tuple[int, int]  # a side, or (height, width)
    mean: tuple[float, ...]
    std: tuple[float, ...]
    native_size: int | tuple[int, int] | None
    deep: bool = False
    crop_ratio: float | None = None
    interpolation: str = "bilinear"
    targets: str = CLASS  # or masks.MASK
    class_names: tuple[str, ...] = ()  # of masks, the background first where there is one
    ignore_index: int | None = None  # of masks as stored: the value of pixels that are of no class
    ndim: int = 2  # 3: the images are volumes (C, D, H, W), cubes of image_size
    alpha: str = "white"  # the background behind transparent pixels: data.alpha
    rule: Preprocessing | None = None  # of a trained network; None: as the rest says
    fit: str = "crop"  # data.resize

    @property
    def sides(self) -> tuple[int, ...]:
        """(height, width) of an input; of volumes all three."""
        if self.ndim == 3:
            assert isinstance(self.image_size, int)
            return (self.image_size,) * 3
        return pair_of(self.image_size)

    @property
    def shape(self) -> tuple[int, ...]:
        """(channels, *sides) of an input."""
        return (self.channels, *self.sides)

    @property
    def batch_ignore_index(self) -> int:
        """The value of pixels of no class in the masks of a batch, which may have a border.

        It is that of the stored masks; where they have none, one that is no class, which they may
        not have.
        """
        if self.ignore_index is not None:
            return self.ignore_index
        return max(IGNORE, len(self.class_names))

    @property
    def preprocessing(self) -> Preprocessing:
        """What evaluation does to an image; whoever shows one to the trained model does the same.

        Interpolation: with a filter that grows with the reduction (antialiasing). A ratio that is
        asked for is rounded down, as where such ratios are published (224 / 0.9 -> 248).
        """
        if self.rule is not None:
            return self.rule
        side, ratio = self.image_size, self.crop_ratio
        rest = (self.interpolation, self.mean, self.std)
        if self.ndim == 3:
            return Preprocessing(side, side, *rest, ndim=3)
        if self.fit == "pad":
            return Preprocessing(side, side, *rest, pad=True, alpha=self.alpha)
        if self.fit == "squash" or self.targets == MASK:
            return Preprocessing(side, side, *rest, stretch=True, alpha=self.alpha)
        if ratio is not None:
            resize = _each(side, lambda length: int(length / ratio))
        elif self.native_size is not None and _same_shape(self.native_size, side):
            resize = side
        else:
            resize = _each(side, lambda length: round(length / CROP_RATIO))
        return Preprocessing(side, resize, *rest, alpha=self.alpha)

    def as_trained(self, rule: Preprocessing | None) -> ImageInfo:
        """The same images, shown by the rule of a trained network instead of their own; volumes
        keep their size."""
        if rule is None:
            return self
        size = rule.size if rule.ndim == 2 else self.image_size
        return replace(self, image_size=size, mean=rule.mean, std=rule.std,
                       interpolation=rule.interpolation, alpha=rule.alpha, rule=rule)  # fmt: skip


def _same_shape(one: int | tuple[int, int], other: int | tuple[int, int]) -> bool:
    (h, w), (height, width) = pair_of(one), pair_of(other)
    return h * width == w * height


def _each(size: int | tuple[int, int], change: Callable[[int], int]) -> int | tuple[int, int]:
    return change(size) if isinstance(size, int) else (change(size[0]), change(size[1]))


def describe_images(train: ImageDataset, cfg: DataConfig) -> ImageInfo:
    """Find out channels, size and pixel statistics; values in cfg come first.

    Mean and standard deviation: cfg's, else the published ones of the dataset, else those of the
    training images (all if in memory, else 256 evenly spaced ones).

    Raises: DataError if images have several sizes and data.image_size is null, or if data.mean or
    data.std has not one value per channel.
    """
    if not len(train):
        raise DataError("the training split has no images")
    stored_channels, stored, deep = _stored_shape(train)
    native: Any = stored[0] if stored is not None and len(set(stored)) == 1 else None
    channels = cfg.channels or stored_channels
    if _ndim(train) == 3:
        check_volumes(cfg, stored_channels, stored)
    image_size = cfg.image_size or getattr(train, "image_size", None) or native
    if isinstance(image_size, list):
        image_size, native = (image_size[0], image_size[1]), stored
    if image_size is None:
        raise DataError(
            "the images are not square or of several sizes: say to which side they are brought, "
            "for example data.image_size=64, or both sides, data.image_size=[64,48]"
        )
    _check_resize(cfg)
    mean, std = _normalisation(train, cfg, channels, stored_channels)
    shape = (channels, image_size, mean, std, native, deep)
    more = (cfg.crop_ratio, cfg.interpolation)
    info = ImageInfo(*shape, *more, alpha=cfg.alpha, fit=cfg.resize)
    return _with_masks(info, train, cfg) if target_kind(train) == MASK else info


def _check_resize(cfg: DataConfig) -> None:
    if cfg.crop_ratio is not None and cfg.resize != "crop":
        raise DataError(
            f"data.crop_ratio={cfg.crop_ratio}: data.resize={cfg.resize} cuts nothing off; type "
            "data.crop_ratio=null"
        )


def _with_masks(info: ImageInfo, train: ImageDataset, cfg: DataConfig) -> ImageInfo:
    if cfg.crop_ratio is not None:
        raise DataError(
            f"data.crop_ratio={cfg.crop_ratio}: images with masks are evaluated whole, brought to "
            "data.image_size; type data.crop_ratio=null"
        )
    names = tuple(str(name) for name in getattr(train, "classes", ()))
    names = names or tuple(str(index) for index in range(cfg.num_classes or 0))
    if len(names) < 2 or cfg.num_classes not in (None, len(names)):
        raise DataError(
            f"data.num_classes={cfg.num_classes}: the dataset names {len(names)} classes; of "
            "masks two or more are learnt, the background among them: give the dataset an "
            "attribute classes, or data.num_classes=N where it has none"
        )
    ignore = getattr(train, "ignore_index", None)
    return replace(info, targets=MASK, class_names=names, ignore_index=ignore, ndim=_ndim(train))


def _ndim(dataset: ImageDataset) -> int:
    return int(getattr(dataset, "ndim", 2))


def _evenly_spaced(count: int, at_most: int) -> list[int]:
    return np.unique(np.linspace(0, count - 1, min(count, at_most)).astype(int)).tolist()


def _stored_shape(dataset: ImageDataset) -> tuple[int, tuple[int, ...] | None, bool]:
    """Return channels (1 only if all sampled images are grey), sides (None if they vary), depth."""
    sample, ndim = _evenly_spaced(len(dataset), SIZE_SAMPLE), _ndim(dataset)
    if (held := in_memory(dataset)) is not None:
        channels_of(held[0].images[0], locate(dataset, 0), ndim)
        shapes = {tuple(held[0].images.shape[1:])}
        deep = any(is_deep(held[0].images[held[1][i]]) for i in sample)
    else:
        shapes, deep = set(), False
        for index in sample:
            image = dataset[index][0]
            stored = channels_of(image, locate(dataset, index), ndim)
            tensor = isinstance(image, Tensor)
            shapes.add((stored, *(image.shape[1:] if tensor else image.size[::-1])))
            deep = deep or (tensor and is_deep(image))
    sizes = {(*size,) for _, *size in shapes}
    return max(shape[0] for shape in shapes), sizes.pop() if len(sizes) == 1 else None, deep


def _normalisation(
    train: ImageDataset, cfg: DataConfig, channels: int, stored_channels: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    for key in ("mean", "std"):
        given = getattr(cfg, key)
        if given is not None and len(given) != channels:
            raise DataError(
                f"data.{key}={given}: the images have {channels} channel(s); "
                f"give {channels} number(s), or null"
            )
    mean, std = getattr(train, "mean", None), getattr(train, "std", None)
    if channels != stored_channels or mean is None or std is None:
        mean = std = None
        if cfg.mean is None or cfg.std is None:
            mean, std = pixel_statistics(train, channels)
    return tuple(cfg.mean or mean or ()), tuple(cfg.std or std or ())


def _pixels(dataset: ImageDataset, channels: int) -> Iterator[Tensor]:
    """Yield pixels, uint8 or float32 in [0, 1]. Shape: (channels, any number)."""
    volumes = _ndim(dataset) == 3  # whose channels are kept
    if (held := in_memory(dataset)) is not None:
        for indices in torch.as_tensor(held[1]).split(1024):
            images = held[0].images[indices]
            images = images if volumes else to_tensor(images, channels)
            yield images.transpose(0, 1).flatten(1)
        return
    for index in _evenly_spaced(len(dataset), STATISTICS_SAMPLE):
        image = dataset[index][0]
        image = image if volumes else to_tensor(image, channels, where=locate(dataset, index))
        yield image.flatten(1)


def pixel_statistics(
    dataset: ImageDataset, channels: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation per channel, of pixels in [0, 1].

    Computed exactly from integer histograms, hence the same on every machine and process: of 256
    values, or of 65,536 where images have more than 8 bits. A channel that is constant gets a
    standard deviation of 1, so that dividing by it is harmless.
    """
    bytes_, deep = torch.zeros(channels, 256).long(), torch.zeros(channels, DEPTH + 1).long()
    for pixels in _pixels(dataset, channels):
        floats = pixels.dtype.is_floating_point
        counts = deep if floats else bytes_
        values = (pixels.float() * DEPTH).round().long() if floats else pixels
        for channel in range(channels):
            counts[channel] += torch.bincount(values[channel], minlength=counts.shape[1])
    if deep.any():
        deep[:, :: DEPTH // 255] += bytes_  # v / 255 = 257 v / 65535
        pairs = [_exact_statistics(histogram) for histogram in deep]
        return tuple(mean for mean, _ in pairs), tuple(std for _, std in pairs)
    weight = bytes_.double() / bytes_.sum(1, keepdim=True)
    value = torch.arange(256, dtype=torch.float64) / 255
    mean = (weight * value).sum(1)
    std = (weight * (value - mean[:, None]) ** 2).sum(1).sqrt()
    std = torch.where(std < 1e-6, 1.0, std)
    return tuple(mean.tolist()), tuple(std.tolist())


def _exact_statistics(histogram: Tensor) -> tuple[float, float]:
    """Mean S1 / n and deviation sqrt(n S2 - S1^2) / n of values v / 65535, in whole numbers.

    A sum of 65,536 rounded products would depend on the order in which a processor adds them.
    """
    values = torch.nonzero(histogram).flatten().tolist()
    pairs = [(value, int(histogram[value])) for value in values]
    n = sum(count for _, count in pairs)
    s1 = sum(value * count for value, count in pairs)
    s2 = sum(value * value * count for value, count in pairs)
    variance = (n * s2 - s1 * s1) / (n * DEPTH) ** 2
    return s1 / (n * DEPTH), math.sqrt(variance) if variance else 1.0
