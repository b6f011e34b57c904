"""Group `loss` of segmentation: what a training step minimises over masks."""

from __future__ import annotations

from dataclasses import dataclass

from experiments.config.checks import require, require_class_weights


@dataclass
class MapLossConfig:
    """What every loss over masks has; a network with several outputs is judged by all of them."""

    name: str = "cross_entropy"
    class_weights: str | list[float] | None = None  # balanced, or one per class, of mean 1
    output_weights: list[float] | None = None  # of the outputs of a network with several; null: 1

    def __post_init__(self) -> None:
        require_class_weights(self.class_weights)
        weights = self.output_weights
        rule = "must be numbers of 0 or more, one of them larger, or null for equal weights"
        ok = weights is None or (all(w >= 0 for w in weights) and any(w > 0 for w in weights))
        require(ok, "loss.output_weights", weights, rule)


@dataclass
class PixelLossConfig(MapLossConfig):
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        value = self.label_smoothing
        require(0 <= value < 1, "loss.label_smoothing", value, "must lie in [0, 1)")


@dataclass
class OverlapConfig(MapLossConfig):
    smooth: float = 1.0  # added above and below: what a class absent from an image counts
    background: bool = True  # class 0 counts, too
    per_image: bool = True  # false: sums over a micro-batch, however a batch is divided

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.smooth > 0, "loss.smooth", self.smooth, "must be more than 0")


@dataclass
class DiceCrossEntropyConfig(OverlapConfig):
    weight: float = 1.0  # of the term over pixels

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.weight >= 0, "loss.weight", self.weight, "must be 0 or more")


@dataclass
class DiceFocalConfig(DiceCrossEntropyConfig):
    gamma: float = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.gamma >= 0, "loss.gamma", self.gamma, "must be 0 or more")


@dataclass
class DiceBinaryConfig(DiceCrossEntropyConfig):
    background: bool = False  # as published, where the network's one map is the object's
    weight: float = 0.1


@dataclass
class TverskyConfig(OverlapConfig):
    alpha: float = 0.5  # of pixels that are not of the class but were taken for it
    beta: float = 0.5  # of those of the class that were missed
    gamma: float = 1.0  # the exponent

    def __post_init__(self) -> None:
        super().__post_init__()
        for key in ("alpha", "beta", "gamma"):
            require(getattr(self, key) > 0, f"loss.{key}", getattr(self, key), "must be positive")


@dataclass
class LovaszConfig(MapLossConfig):
    per_image: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        rule = "the Lovasz extension has none; choose loss=dice_ce, or null"
        require(self.class_weights is None, "loss.class_weights", self.class_weights, rule)


MAP_LOSSES: dict[str, type[MapLossConfig]] = {
    "cross_entropy": PixelLossConfig,
    "dice": OverlapConfig,
    "dice_ce": DiceCrossEntropyConfig,
    "dice_focal": DiceFocalConfig,
    "dice_bce": DiceBinaryConfig,
    "tversky": TverskyConfig,
    "lovasz": LovaszConfig,
}
