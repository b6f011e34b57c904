"""Group `data`: which images, and how they are split, brought to size and loaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from experiments.config.checks import require, require_choice
from experiments.errors import ConfigError

IGNORED = "ignore"  # in data.classes: the value of pixels that are of no class
OTHER = "other"  # in data.classes: every value that no other class has
SOURCES = ("digits", "mnist5k", "fashion_mnist")
RESIZES = ("crop", "pad", "squash")
TARGETS = ("class", "ink", "mask", "labels")  # ink: the mean of the pixels, in percent
_MOST_CLASSES = 255  # 255 itself stands for pixels that are ignored
_EXAMPLE = "data.classes={background: 0, cell: 255}"


@dataclass
class DataConfig:
    """Which images to read, from where, and how they are split and loaded."""

    name: str = "digits"
    root: str = "data"
    download: bool = True
    download_dir: str = "data/downloads"  # where files are copied that data.root names by a URL
    cache: str | None = None  # decoded images: memory, or a folder; None decodes at each use
    image_size: int | list[int] | None = None  # a side, or [height, width]; None: the dataset's own
    resize: str = "crop"  # of images of another shape: crop | pad | squash
    crop_ratio: float | None = None  # of the resized shorter side, what evaluation keeps of it
    interpolation: str = "bilinear"  # of evaluation's resizing: bilinear | bicubic
    validation_fraction: float = 0.1  # of the training images, stratified by class
    train_size: int | None = None  # use only that many training images, stratified by class
    repeats: int = 1  # copies of an image that an epoch takes, of so many images fewer
    balance: bool = False  # an epoch takes as many images of each class, of rare ones copies
    split_seed: int = 0  # the split depends on this alone, not on the run's seed
    fit: str = "train"  # train | all: on the validation images too, and nothing is selected
    check: bool = False  # read all images before training, and tell all that are damaged
    skip_damaged: bool = False  # do so, and leave them out
    workers: int = 0  # processes that read images, and no more than the machine has cores
    mean: list[float] | None = None  # per channel, in [0, 1]; None: the dataset's own
    std: list[float] | None = None
    num_classes: int | None = None  # None: counted from the dataset
    channels: int | None = None  # None: read from the dataset
    alpha: str = "white"  # behind transparent images: white | black; keep: a channel of it
    image_column: str | None = None  # of rows with columns; None: the one that holds images
    label_column: str | None = None  # None: the one that is called so, or is left
    target: str | None = None  # what is to be predicted, where a dataset offers several: TARGETS
    classes: dict | None = None  # of mask_folder: {name: value or [r, g, b] in the mask files}
    source: str | None = None  # of canvas: digits | mnist5k | fashion_mnist; None: mnist5k
    count: int | None = None  # of canvas: how many pictures are made; None: 5,000
    objects: int | None = None  # of canvas: how many lie on one at most; None: 4
    ndim: int | None = None  # of mni152: 2 (slices) | 3 (patches); None: 2

    def __post_init__(self) -> None:
        fraction = self.validation_fraction
        require(0 < fraction < 1, "data.validation_fraction", fraction, "must lie in (0, 1)")
        seed = self.split_seed
        require(-(2**63) <= seed < 2**63, "data.split_seed", seed, "must lie in [-2^63, 2^63)")
        rule = "must be 0 (the main process reads) to 256; as many as there are cores is many"
        require(0 <= self.workers <= 256, "data.workers", self.workers, rule)
        require(self.root != "", "data.root", self.root, "must be a directory; type . for this one")
        rule = "must be 1 (every image once an epoch) or more"
        require(1 <= self.repeats < 2**31, "data.repeats", self.repeats, rule)
        rule = f"with data.repeats={self.repeats}: copies are of rare classes, or of all images"
        require(not self.balance or self.repeats == 1, "data.balance", self.balance, rule)
        ratio = self.crop_ratio
        rule = "must lie in [0.1, 1] or be null (0.875, or 1 where all images are equal squares)"
        require(ratio is None or 0.1 <= ratio <= 1, "data.crop_ratio", ratio, rule)
        require_choice("data.interpolation", self.interpolation, ("bilinear", "bicubic"))
        require_choice("data.resize", self.resize, RESIZES)
        self._check_size()
        require_choice("data.alpha", self.alpha, ("white", "black", "keep"))
        require_choice("data.fit", self.fit, ("train", "all"))
        require(self.cache != "", "data.cache", self.cache, "must be memory, a folder or null")
        if self.target is not None:
            require_choice("data.target", self.target, TARGETS)
        if self.source is not None:
            require_choice("data.source", self.source, SOURCES)
        rule = "must be 2 (slices) or 3 (patches)"
        require(self.ndim in (None, 2, 3), "data.ndim", self.ndim, rule)
        if self.classes is not None:
            _check_classes(self.classes)
        for key in ("train_size", "num_classes", "channels", "count", "objects"):
            value = getattr(self, key)
            require(value is None or value > 0, f"data.{key}", value, "must be positive or null")
        for key in ("mean", "std"):
            value = getattr(self, key)
            low = 0 if key == "mean" else 1e-6
            ok = value is None or (len(value) > 0 and all(low <= v <= 1 for v in value))
            require(ok, f"data.{key}", value, "must be one number in [0, 1] per channel (std > 0)")

    def _check_size(self) -> None:
        size, rule = self.image_size, "must be a side, [HEIGHT, WIDTH] or null, of 1 or more each"
        sides = size if isinstance(size, list) else [1 if size is None else size]
        require(len(sides) in (1, 2) and min(sides) > 0, "data.image_size", size, rule)
        if isinstance(size, list) and len(set(size)) == 1:
            self.image_size = size[0]  # a square is said in one way

    def square(self) -> int | None:
        """image_size of data that are made or cut as squares. Raises: ConfigError for others."""
        size = self.image_size
        if isinstance(size, list):
            raise ConfigError(
                f"data.image_size={size}: data={self.name} has squares or cubes alone; type one "
                f"number, data.image_size={max(size)}"
            )
        return size


def _check_classes(classes: dict[Any, Any]) -> None:
    """The rules of a table of classes. Raises: ConfigError."""
    named = [name for name in classes if name != IGNORED]
    rule = f"needs two classes or more, and at most {_MOST_CLASSES}; for example {_EXAMPLE}"
    require(2 <= len(named) <= _MOST_CLASSES, "data.classes", classes, rule)
    for name, value in classes.items():
        key, rule = f"data.classes.{name}", "must have a name that is a text"
        require(isinstance(name, str) and name != "", key, value, rule)
        colour = isinstance(value, (list, tuple)) and len(value) == 3
        parts, most = (value, 255) if colour else ([value], 65535)
        whole = all(type(part) is int and 0 <= part <= most for part in parts)
        rule = f"must be a value of the mask files (0 to 65535), a colour [r, g, b] or {OTHER}"
        require(value == OTHER or whole, key, value, rule)
    values = [tuple(v) if isinstance(v, (list, tuple)) else v for v in classes.values()]
    twice = [value for value in values if values.count(value) > 1]
    require(not twice, "data.classes", classes, f"has {twice[:1]} twice: a value is of one class")
    kinds = {type(value) for value in values if value != OTHER}
    rule = "mixes grey values with colours: mask files are one or the other"
    require(len(kinds) == 1, "data.classes", classes, rule)
