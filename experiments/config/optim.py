"""Groups `optimizer` and `scheduler`."""

from __future__ import annotations

from dataclasses import dataclass, field

from experiments.config.checks import require


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
    """lr(s) over optimizer steps s; the steps of `warmup` rise linearly from 0 to optimizer.lr.

    An integer counts steps, a float below 1 is a share of all steps of the run.
    """

    name: str = "constant"
    warmup: int | float = 0

    def __post_init__(self) -> None:
        value = self.warmup
        if isinstance(value, float):
            rule = "must be a share of all steps, below 1, or a whole number of steps"
            require(0 <= value < 1, "scheduler.warmup", value, rule)
        require(value >= 0, "scheduler.warmup", value, "must be 0 or more steps")

    def warmup_steps(self, total_steps: int) -> int:
        """The optimizer steps of the rise: `warmup`, or its share of all steps, rounded."""
        if isinstance(self.warmup, float):
            return round(self.warmup * total_steps)
        return self.warmup


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
