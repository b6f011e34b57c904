"""Types and rules of the configuration. YAML files hold the values, these dataclasses the types.

Every group is a dataclass (or a table of dataclasses chosen by the group's `name`); its
`__post_init__` holds the rules that a type cannot say. `experiments.config.parse` turns a composed
config into a `Config`, and nothing runs before that has succeeded. Longer than other files, so
that all keys and rules of a config stand in one place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from experiments.errors import ConfigError, nearest


def require(condition: bool, key: str, value: Any, rule: str) -> None:
    """Raise ConfigError naming the key, the value given and the rule, unless condition holds."""
    if not condition:
        raise ConfigError(f"{key}={value!r}: {rule}")


def require_choice(key: str, value: str, choices: Sequence[str]) -> None:
    """Raise ConfigError unless value is one of choices; the message names the nearest one."""
    if value not in choices:
        raise ConfigError(
            f"{key}={value!r} is not known{nearest(value, choices)}\nChoose one of: "
            + ", ".join(choices)
        )


# ------------------------------------------------------------------------------------------- data
@dataclass
class DataConfig:
    """Which images to read, from where, and how they are split and loaded."""

    name: str = "digits"
    root: str = "data"
    download: bool = True
    image_size: int | None = None  # None keeps the dataset's own size
    validation_fraction: float = 0.1  # of the training images, stratified by class
    train_size: int | None = None  # use only that many training images, stratified by class
    split_seed: int = 0  # the split depends on this alone, not on the run's seed
    workers: int = 0
    mean: list[float] | None = None  # per channel, in [0, 1]; None: the dataset's own
    std: list[float] | None = None
    num_classes: int | None = None  # None: counted from the dataset
    channels: int | None = None  # None: read from the dataset

    def __post_init__(self) -> None:
        fraction = self.validation_fraction
        require(0 < fraction < 1, "data.validation_fraction", fraction, "must lie in (0, 1)")
        require(self.workers >= 0, "data.workers", self.workers, "must be 0 or more")
        for key in ("image_size", "train_size", "num_classes", "channels"):
            value = getattr(self, key)
            require(value is None or value > 0, f"data.{key}", value, "must be positive or null")
        for key in ("mean", "std"):
            value = getattr(self, key)
            low = 0 if key == "mean" else 1e-6
            ok = value is None or all(low <= v <= 1 for v in value)
            require(ok, f"data.{key}", value, "must be one number in [0, 1] per channel (std > 0)")


@dataclass
class AugmentConfig:
    """Random changes of training images; every probability or size of 0 switches its part off."""

    crop_padding: int = 0  # pixels of reflection padding before a random crop
    horizontal_flip: bool = False
    rotation: float = 0.0  # degrees, uniform in [-rotation, rotation]
    policy: str = "none"  # none | auto_augment | random_augment
    policy_name: str = "cifar10"  # auto_augment: cifar10 | imagenet | svhn
    random_augment: str = "rand-m9-mstd0.5-inc1"  # timm's notation
    random_resized_crop: float = 0.0  # smallest area kept; 0: no random resized crop
    erasing: float = 0.0  # probability of random erasing
    mixup: float = 0.0  # alpha of the Beta distribution
    cutmix: float = 0.0
    mix_probability: float = 1.0  # of a batch being mixed at all

    def __post_init__(self) -> None:
        require_choice("augment.policy", self.policy, ("none", "auto_augment", "random_augment"))
        require_choice("augment.policy_name", self.policy_name, ("cifar10", "imagenet", "svhn"))
        for key in ("erasing", "mix_probability", "random_resized_crop"):
            value = getattr(self, key)
            require(0 <= value <= 1, f"augment.{key}", value, "must lie in [0, 1]")
        for key in ("crop_padding", "rotation", "mixup", "cutmix"):
            value = getattr(self, key)
            require(value >= 0, f"augment.{key}", value, "must be 0 (off) or more")


# -------------------------------------------------------------------------- optimizer, scheduler
@dataclass
class OptimizerConfig:
    """What every optimizer has: a name and a peak learning rate, and rules for what some have.

    Weight decay is decoupled in AdamW and Lion, part of the gradient in SGD and of the trust
    ratio in LAMB.
    """

    name: str = "adamw"
    lr: float = 1e-3

    def __post_init__(self) -> None:
        require(self.lr > 0, "optimizer.lr", self.lr, "must be positive")
        decay = getattr(self, "weight_decay", 0.0)
        require(decay >= 0, "optimizer.weight_decay", decay, "must be 0 or more")
        for key in ("eps", "max_iter", "history_size"):
            value = getattr(self, key, 1)
            require(value > 0, f"optimizer.{key}", value, "must be positive")
        for i, beta in enumerate(getattr(self, "betas", ())):
            require(0 <= beta < 1, f"optimizer.betas[{i}]", beta, "must lie in [0, 1)")


@dataclass
class AdamWConfig(OptimizerConfig):
    weight_decay: float = 1e-4
    betas: list[float] = field(default_factory=lambda: [0.9, 0.999])
    eps: float = 1e-8


@dataclass
class SGDConfig(OptimizerConfig):
    weight_decay: float = 5e-4
    momentum: float = 0.9
    nesterov: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 <= self.momentum < 1, "optimizer.momentum", self.momentum, "must lie in [0, 1)")
        rule = "needs optimizer.momentum > 0; type optimizer.nesterov=false"
        require(self.momentum > 0 or not self.nesterov, "optimizer.nesterov", self.nesterov, rule)


@dataclass
class LionConfig(OptimizerConfig):
    weight_decay: float = 1e-3
    betas: list[float] = field(default_factory=lambda: [0.9, 0.99])


@dataclass
class LambConfig(OptimizerConfig):
    weight_decay: float = 1e-4
    betas: list[float] = field(default_factory=lambda: [0.9, 0.999])
    eps: float = 1e-6


@dataclass
class LBFGSConfig(OptimizerConfig):
    """Full gradients of one batch per step; `max_iter` evaluations at most by line search."""

    max_iter: int = 10
    history_size: int = 10
    line_search: bool = True  # strong Wolfe; False takes fixed steps of lr


@dataclass
class SchedulerConfig:
    """lr(s) over optimizer steps s; `warmup` steps rise linearly from 0 to optimizer.lr."""

    name: str = "constant"
    warmup: int = 0

    def __post_init__(self) -> None:
        require(self.warmup >= 0, "scheduler.warmup", self.warmup, "must be 0 or more steps")


@dataclass
class PolynomialConfig(SchedulerConfig):
    power: float = 1.0
    lr_end: float = 1e-7

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.power > 0, "scheduler.power", self.power, "must be positive")


@dataclass
class CosineConfig(SchedulerConfig):
    lr_end: float = 0.0


@dataclass
class OneCycleConfig(SchedulerConfig):
    """torch's OneCycleLR: its rise to optimizer.lr takes pct_start of all steps."""

    pct_start: float = 0.3
    div_factor: float = 25.0
    final_div_factor: float = 1e4

    def __post_init__(self) -> None:
        super().__post_init__()
        rule = "must be 0: OneCycle's rise is scheduler.pct_start of all steps"
        require(self.warmup == 0, "scheduler.warmup", self.warmup, rule)
        require(0 < self.pct_start < 1, "scheduler.pct_start", self.pct_start, "must lie in (0, 1)")
        for key in ("div_factor", "final_div_factor"):
            value = getattr(self, key)
            require(value > 0, f"scheduler.{key}", value, "must be positive")


# ------------------------------------------------------------------------------------------- loss
@dataclass
class LossConfig:
    name: str = "cross_entropy"
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        value = self.label_smoothing
        require(0 <= value < 1, "loss.label_smoothing", value, "must lie in [0, 1)")


@dataclass
class FocalConfig(LossConfig):
    gamma: float = 1.5
    alpha: list[float] | None = None  # one weight per class

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.gamma >= 0, "loss.gamma", self.gamma, "must be 0 or more")


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


# ---------------------------------------------------------------------------------------- trainer
MONITORS = (
    "accuracy", "top5_accuracy", "recall_macro", "recall_micro", "f1_macro", "f1_micro",
    "auc_ovr", "auc_ovo", "loss",
)  # fmt: skip


@dataclass
class TrainerConfig:
    """How long, how large and how precise; see README for each key's meaning in use."""

    epochs: int = 10
    batch_size: int = 128  # images per optimizer step, over all processes and accumulation steps
    accumulation: int = 1  # micro-batches per optimizer step
    evaluation_batch_size: int = 256  # per process
    max_grad_norm: float | None = None
    precision: str | None = None  # no | bf16 | fp16; null: what `accelerate launch` was told
    compile: bool = False
    channels_last: bool = False
    ema_decay: float | None = None
    deterministic: bool = True
    cpu: bool = False
    threads: int | None = None  # of each process on a CPU; null: share the cores out
    resume: str | None = None  # auto, or the path of a run directory
    checkpoint_steps: int | None = None  # also save every that many optimizer steps
    keep_last: int = 2  # checkpoints kept beside the best weights
    monitor: str = "accuracy"  # validation metric that selects the best weights
    limit_steps: int | None = None  # optimizer steps per epoch at most; for debugging
    overfit_batches: int = 0  # train and validate on that many fixed batches; for debugging
    progress: bool = True

    def __post_init__(self) -> None:
        for key in ("epochs", "batch_size", "accumulation", "evaluation_batch_size", "keep_last"):
            value = getattr(self, key)
            require(value >= 1, f"trainer.{key}", value, "must be 1 or more")
        for key in ("checkpoint_steps", "limit_steps", "max_grad_norm", "threads"):
            value = getattr(self, key)
            require(value is None or value > 0, f"trainer.{key}", value, "must be positive or null")
        require_choice("trainer.monitor", self.monitor, MONITORS)
        decay = self.ema_decay
        rule = "must lie in (0, 1) or be null (no EMA)"
        require(decay is None or 0 < decay < 1, "trainer.ema_decay", decay, rule)
        if self.precision is not None:
            require_choice("trainer.precision", self.precision, ("no", "bf16", "fp16"))
        require(
            self.overfit_batches >= 0,
            "trainer.overfit_batches",
            self.overfit_batches,
            "must be 0 (off) or more",
        )
        rule = f"must divide trainer.batch_size={self.batch_size}"
        require(
            self.batch_size % self.accumulation == 0,
            "trainer.accumulation",
            self.accumulation,
            rule,
        )


@dataclass
class MetricsConfig:
    """Which of the costly metrics to compute; accuracy, recall and F1 always are."""

    auc_max_classes: int = 100  # the AUCs keep every logit; with more classes they are left out

    def __post_init__(self) -> None:
        value = self.auc_max_classes
        require(value >= 0, "metrics.auc_max_classes", value, "must be 0 (never) or more")


@dataclass
class TrackerConfig:
    name: str = "local"  # local | wandb | tensorboard; the local files are always written
    project: str = "kan-images"
    entity: str | None = None

    def __post_init__(self) -> None:
        require_choice("tracker.name", self.name, ("local", "wandb", "tensorboard"))


OPTIMIZERS: dict[str, type[OptimizerConfig]] = {
    "adamw": AdamWConfig,
    "sgd": SGDConfig,
    "lion": LionConfig,
    "lamb": LambConfig,
    "lbfgs": LBFGSConfig,
}
SCHEDULERS: dict[str, type[SchedulerConfig]] = {
    "polynomial": PolynomialConfig,
    "cosine": CosineConfig,
    "onecycle": OneCycleConfig,
    "constant": SchedulerConfig,
}
LOSSES: dict[str, type[LossConfig]] = {
    "cross_entropy": LossConfig,
    "focal": FocalConfig,
    "bce": LossConfig,
}


@dataclass
class Config:
    """A whole run. `model` holds the registry name and that model's own options."""

    name: str
    seed: int
    runs_dir: str
    model: dict[str, Any]
    data: DataConfig
    augment: AugmentConfig
    optimizer: OptimizerConfig
    scheduler: SchedulerConfig
    loss: LossConfig
    penalty: PenaltyConfig
    metrics: MetricsConfig
    trainer: TrainerConfig
    tracker: TrackerConfig
