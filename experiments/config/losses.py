"""Groups `loss` and `penalty`: what a training step minimises."""

from __future__ import annotations

from dataclasses import dataclass

from experiments.config.checks import require, require_class_weights


@dataclass
class LossConfig:
    name: str = "cross_entropy"
    label_smoothing: float = 0.0
    class_weights: str | list[float] | None = None  # balanced, or one per class, of mean 1

    def __post_init__(self) -> None:
        value = self.label_smoothing
        require(0 <= value < 1, "loss.label_smoothing", value, "must lie in [0, 1)")
        require_class_weights(self.class_weights)


@dataclass
class FocalConfig(LossConfig):
    gamma: float = 1.5

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.gamma >= 0, "loss.gamma", self.gamma, "must be 0 or more")


@dataclass
class BCEConfig(LossConfig):
    threshold: float | None = None  # targets above it are 1, others 0; null: targets are shares

    def __post_init__(self) -> None:
        super().__post_init__()
        value = self.threshold
        rule = "must lie in [0, 1), or be null"
        require(value is None or 0 <= value < 1, "loss.threshold", value, rule)
        rule = "leaves targets of 0 and 1, which smoothing moves; type loss.label_smoothing=0"
        sharp = value is None or self.label_smoothing == 0
        require(sharp, "loss.threshold", value, rule)


@dataclass
class PenaltyConfig:
    """Terms added to the loss; each factor of 0 switches its term off.

    l1_decay * sum |w| over the weights of all KAN layers; activation_l1 * sum over KAN layers of
    mean |y|; activation_l2 * sum over KAN layers of mean y^2 (y: the layer's output); load_balance
    * sum over mixtures of experts of their balance penalty, where a model has any.
    """

    l1_decay: float = 0.0
    activation_l1: float = 0.0
    activation_l2: float = 0.0
    load_balance: float = 0.01

    def __post_init__(self) -> None:
        for key in ("l1_decay", "activation_l1", "activation_l2", "load_balance"):
            value = getattr(self, key)
            require(value >= 0, f"penalty.{key}", value, "must be 0 (off) or more")


@dataclass
class RegressionLossConfig:
    """mse and l1, which have no options."""

    name: str = "mse"


@dataclass
class HuberConfig(RegressionLossConfig):
    delta: float = 1.0  # the error, in deviations of the training targets, up to which it is square

    def __post_init__(self) -> None:
        require(self.delta > 0, "loss.delta", self.delta, "must be more than 0")


REGRESSION_LOSSES: dict[str, type[RegressionLossConfig]] = {
    "mse": RegressionLossConfig,
    "l1": RegressionLossConfig,
    "huber": HuberConfig,
}
LOSSES: dict[str, type[LossConfig]] = {
    "cross_entropy": LossConfig,
    "focal": FocalConfig,
    "bce": BCEConfig,
}
