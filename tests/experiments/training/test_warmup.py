"""How schedules begin and end, in steps or epochs; timm's cosine is one of them."""

import math

import pytest
import torch
from timm.scheduler import CosineLRScheduler
from torch import nn

from experiments.config.optim import (
    AdamWConfig,
    CosineConfig,
    PolynomialConfig,
    SchedulerConfig,
    WarmupConfig,
)
from experiments.errors import ConfigError
from experiments.training.optim import build_optimizer, build_scheduler

LR, EPOCHS, STEPS = 1e-3, 12, 4


def rates(cfg: SchedulerConfig, epochs: int = EPOCHS) -> list[float]:
    """The learning rate of every step of a run, and that of one step more."""
    optimizer = build_optimizer(nn.Linear(2, 2), AdamWConfig("adamw", LR))
    scheduler = build_scheduler(optimizer, cfg, epochs * STEPS, STEPS)
    found = []
    for _ in range(epochs * STEPS + 1):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


@pytest.mark.parametrize("prefix", [False, True])
def test_cosine_in_stairs_is_that_of_timm(prefix: bool) -> None:
    """Of every epoch, with a warm-up from a rate above 0, and a cooldown at one, too."""
    warmup, start, end, cooldown = 3, 1e-6, 1e-5, 2
    theirs = CosineLRScheduler(
        torch.optim.SGD(nn.Linear(1, 1).parameters(), LR), lr_min=end, warmup_t=warmup,
        t_initial=EPOCHS - cooldown - (warmup if prefix else 0), warmup_lr_init=start,
        warmup_prefix=prefix, cycle_limit=1,
    )  # fmt: skip
    wanted = []
    for epoch in range(EPOCHS):
        theirs.step(epoch)
        wanted += [theirs.optimizer.param_groups[0]["lr"]] * STEPS
    ours = CosineConfig(
        "cosine", warmup, unit="epoch", lr_start=start, lr_end=end, cooldown=cooldown,
        overlap=not prefix, stairs=True,
    )  # fmt: skip
    assert rates(ours)[:-1] == pytest.approx(wanted, rel=1e-12)
    assert rates(ours)[-2 * STEPS :] == pytest.approx([end] * 2 * STEPS)


def test_the_formula_of_linear_rise_and_cosine_in_steps() -> None:
    w, T, start, end = 5, EPOCHS * STEPS, 1e-6, 1e-5

    def formula(s: int) -> float:
        if s < w:
            return start + (LR - start) * s / w
        return end + (LR - end) * (1 + math.cos(math.pi * (s - w) / (T - w))) / 2

    cfg = CosineConfig("cosine", w, lr_start=start, lr_end=end)
    assert rates(cfg) == pytest.approx([formula(s) for s in range(T + 1)])


@pytest.mark.parametrize("make", [CosineConfig, PolynomialConfig, WarmupConfig])
def test_epochs_are_as_many_steps(make: type[WarmupConfig]) -> None:
    name = {CosineConfig: "cosine", PolynomialConfig: "polynomial"}.get(make, "constant")
    more = {} if make is WarmupConfig else {"cooldown": 2}
    epochs = make(name, warmup=3, unit="epoch", **more)
    steps = make(name, warmup=3 * STEPS, **{key: n * STEPS for key, n in more.items()})
    share = make(name, warmup=0.25, unit="epoch", **{k: 2 / EPOCHS for k in more})
    assert rates(epochs) == rates(steps) == rates(share)


def test_what_leaves_no_step_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"warmup=12: must be less than the run's 48 .*\(4 an ep"):
        rates(WarmupConfig("constant", EPOCHS, unit="epoch"))
    with pytest.raises(ConfigError, match=r"warmup=10 with scheduler.cooldown=2: must be less"):
        rates(CosineConfig("cosine", EPOCHS - 2, unit="epoch", cooldown=2))
    with pytest.raises(ConfigError, match=r"lr_start=0.5: must lie in \[0, optimizer.lr=0.001\]"):
        rates(CosineConfig("cosine", 1, lr_start=0.5))
    with pytest.raises(ConfigError, match=r"scheduler.unit='epochs'.*did you mean 'epoch'"):
        CosineConfig("cosine", unit="epochs")
