"""Groups `optimizer` and `scheduler`."""

from __future__ import annotations

from dataclasses import dataclass, field

from experiments.config.checks import require, require_choice


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
        betas = getattr(self, "betas", [0.9, 0.999])
        rule = "must be two numbers, for example [0.9,0.999]"
        require(len(betas) == 2, "optimizer.betas", betas, rule)
        for i, beta in enumerate(betas):
            require(0 <= beta < 1, f"optimizer.betas[{i}]", beta, "must lie in [0, 1)")


@dataclass
class FirstOrderConfig(OptimizerConfig):
    """What all but LBFGS have, whose step is one for all weights.

    The learning rate of a layer is lr * layer_decay^(depth - layer), the head's is lr; None: lr.
    """

    weight_decay: float = 1e-4
    layer_decay: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        decay = self.layer_decay
        rule = "must lie in (0, 1], or be null: one learning rate for all layers"
        require(decay is None or 0 < decay <= 1, "optimizer.layer_decay", decay, rule)


@dataclass
class AdamWConfig(FirstOrderConfig):
    betas: list[float] = field(default_factory=lambda: [0.9, 0.999])
    eps: float = 1e-8


@dataclass
class SGDConfig(FirstOrderConfig):
    weight_decay: float = 5e-4
    momentum: float = 0.9
    nesterov: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 <= self.momentum < 1, "optimizer.momentum", self.momentum, "must lie in [0, 1)")
        rule = "needs optimizer.momentum > 0; type optimizer.nesterov=false"
        require(self.momentum > 0 or not self.nesterov, "optimizer.nesterov", self.nesterov, rule)


@dataclass
class LionConfig(FirstOrderConfig):
    weight_decay: float = 1e-3
    betas: list[float] = field(default_factory=lambda: [0.9, 0.99])


@dataclass
class LambConfig(FirstOrderConfig):
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
    """lr(s) over optimizer steps s; `warmup` of them come before optimizer.lr is reached.

    An integer counts steps, or epochs where a schedule has a `unit`; a float below 1 is a share of
    all steps of the run.
    """

    name: str = "constant"
    warmup: int | float = 0

    def __post_init__(self) -> None:
        _require_length("warmup", self.warmup)


@dataclass
class WarmupConfig(SchedulerConfig):
    """A linear rise from lr_start; with `stairs` the rate of an epoch is that of its first step."""

    unit: str = "step"
    lr_start: float = 0.0
    stairs: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        require_choice("scheduler.unit", self.unit, ("step", "epoch"))

    def steps(self, length: int | float, total_steps: int, steps_per_epoch: int) -> int:
        """The optimizer steps of a length that is a count of `unit`s, or a share of all steps."""
        if isinstance(length, float):
            return round(length * total_steps)
        return length * (steps_per_epoch if self.unit == "epoch" else 1)


@dataclass
class FallingConfig(WarmupConfig):
    """A fall to lr_end, where the last `cooldown` stay.

    It begins behind the warm-up; with `overlap` at step 0, hidden by the warm-up, as timm has it.
    """

    lr_end: float = 0.0
    cooldown: int | float = 0
    overlap: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        _require_length("cooldown", self.cooldown)


def _require_length(key: str, value: int | float) -> None:
    if isinstance(value, float):
        rule = "must be a share of all steps, below 1, or a whole number of steps"
        require(0 <= value < 1, f"scheduler.{key}", value, rule)
    require(value >= 0, f"scheduler.{key}", value, "must be 0 or more steps")


@dataclass
class PolynomialConfig(FallingConfig):
    power: float = 1.0
    lr_end: float = 1e-7

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.power > 0, "scheduler.power", self.power, "must be positive")


@dataclass
class CosineConfig(FallingConfig):
    pass


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
    "constant": WarmupConfig,
}
