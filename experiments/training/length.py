"""Whether a run may have more epochs than it was begun with, and be what it would have been."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import torch
from torch.optim.lr_scheduler import LambdaLR

from experiments.config.optim import SchedulerConfig
from experiments.errors import ConfigError
from experiments.training.optim import build_scheduler


def check_length(
    cfg: SchedulerConfig, lr: float, per_epoch: int, steps: int, before: int, after: int
) -> None:
    """Refuse more epochs where the learning rates of the steps so far would have been others.

    per_epoch: steps; steps: done so far; before, after: epochs. A constant schedule has the same
    rates for any length, unless its warm-up is a share of all steps.

    Raises: ConfigError, naming the first step that would have had another rate, and the way on.
    """
    old, new = (_rates(cfg, lr, epochs * per_epoch, per_epoch, steps) for epochs in (before, after))
    for step, (was, would) in enumerate(zip(old, new, strict=True)):
        if was != would:
            raise ConfigError(
                f"trainer.epochs={after}: scheduler={cfg.name} depends on the number of epochs. "
                f"With {before} the learning rate of step {step + 1} was {was:.3g}, and with "
                f"{after} it would have been {would:.3g}: prolonged, this run would be neither. "
                "Begin a new run with its weights and a schedule of its own: model.weights=RUN"
            )


def _rates(
    cfg: SchedulerConfig, lr: float, total_steps: int, per_epoch: int, steps: int
) -> list[float]:
    """The learning rates of the first steps of a run."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    scheduler = build_scheduler(optimizer, cfg, total_steps, per_epoch)
    if isinstance(scheduler, LambdaLR):
        return [lr * scheduler.lr_lambdas[0](step) for step in range(steps)]

    def walk() -> Iterator[float]:
        while True:
            yield float(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()

    return list(islice(walk(), steps))
