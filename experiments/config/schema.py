"""The type of a whole configuration. YAML files hold the values, dataclasses the types.

Every group is a dataclass, or a table of dataclasses chosen by the group's `name`; its
`__post_init__` holds the rules that a type cannot say. `experiments.config.parse` turns a composed
config into a `Config`, and nothing runs before that has succeeded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from experiments.config.augment import AugmentConfig
from experiments.config.data import DataConfig
from experiments.config.losses import PenaltyConfig
from experiments.config.optim import OptimizerConfig, SchedulerConfig
from experiments.config.seeds import SeedsConfig
from experiments.config.trainer import TrackerConfig, TrainerConfig
from experiments.tasks.rows import TaskConfig


@dataclass
class Config:
    """A whole run. `model` holds the registry name and that model's own options.

    `loss` and `metrics` are of the types that the task's row names; loss is None for a task with a
    loss of its own.
    """

    name: str
    seed: int
    seeds: SeedsConfig
    runs_dir: str
    model: dict[str, Any]
    task: TaskConfig
    data: DataConfig
    augment: AugmentConfig
    optimizer: OptimizerConfig
    scheduler: SchedulerConfig
    loss: Any
    penalty: PenaltyConfig
    metrics: Any
    trainer: TrainerConfig
    tracker: TrackerConfig

    def seed_of(self, stream: str) -> int:
        """The seed of a stream of `seeds`: its own, or that of the run."""
        own: int | None = getattr(self.seeds, stream)
        return self.seed if own is None else own
