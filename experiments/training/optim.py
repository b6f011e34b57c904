"""Optimizers and learning-rate schedules built from their configs."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from timm.optim import Lamb, Lion, param_groups_weight_decay
from torch import nn
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR

from experiments.config.checks import require_choice
from experiments.config.optim import (
    OPTIMIZERS,
    SCHEDULERS,
    AdamWConfig,
    CosineConfig,
    LambConfig,
    LBFGSConfig,
    LionConfig,
    OneCycleConfig,
    OptimizerConfig,
    PolynomialConfig,
    SchedulerConfig,
    SGDConfig,
)
from experiments.errors import ConfigError


# --------------------------------------------------------------------------------------- optimizer
def build_optimizer(model: nn.Module, cfg: OptimizerConfig) -> torch.optim.Optimizer:
    """Build the optimizer named by cfg over the model's trainable parameters.

    Weight decay applies to parameters of two or more dimensions. Biases, norms, learned basis
    shapes (`*.basis.*` and what a layer lists as `learned_shapes`) and what the model's own
    `no_weight_decay()` names get none.

    AdamW and Lion decay decoupled from the gradient, w <- w - lr * weight_decay * w; SGD adds
    weight_decay * w to the gradient; LAMB adds it to the update before the layer's trust ratio, as
    its paper does. Gradients are clipped by the trainer alone: LAMB's own clipping is off.

    Raises:
        ConfigError: cfg.name is not one of the known optimizers.
    Source: AdamW, SGD, LBFGS: torch. Lion (Chen et al. 2023), LAMB (You et al. 2020): timm.
    """
    require_choice("optimizer.name", cfg.name, tuple(OPTIMIZERS))
    if isinstance(cfg, LBFGSConfig):
        return _build_lbfgs(model, cfg)
    groups = decay_groups(model, getattr(cfg, "weight_decay", 0.0))
    betas: Any = tuple(getattr(cfg, "betas", ()))
    if isinstance(cfg, AdamWConfig):
        return torch.optim.AdamW(groups, lr=cfg.lr, betas=betas, eps=cfg.eps)
    if isinstance(cfg, SGDConfig):
        return torch.optim.SGD(groups, lr=cfg.lr, momentum=cfg.momentum, nesterov=cfg.nesterov)
    if isinstance(cfg, LionConfig):
        return Lion(groups, lr=cfg.lr, betas=betas)
    if isinstance(cfg, LambConfig):
        return Lamb(groups, lr=cfg.lr, betas=betas, eps=cfg.eps, max_grad_norm=None)
    raise _wrong_type("optimizer", cfg, OPTIMIZERS[cfg.name])


def decay_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Split the trainable parameters into a group without and one with weight decay."""
    exempt = getattr(model, "no_weight_decay", None)
    names = set(exempt()) if callable(exempt) else set()
    # Learned shapes (Gram betas, ReLU phases, a layer's `learned_shapes`) are positions and
    # scales:
    # pulling them towards 0 changes the basis instead of shrinking the function. The names are
    # spelt out, since older versions of timm take no patterns.
    names |= {name for name, _ in model.named_parameters() if "basis" in name.split(".")[:-1]}
    for prefix, module in model.named_modules():
        names |= {f"{prefix}.{name}".lstrip(".") for name in getattr(module, "learned_shapes", ())}
    return param_groups_weight_decay(model, weight_decay, no_weight_decay_list=sorted(names))


def _build_lbfgs(model: nn.Module, cfg: LBFGSConfig) -> torch.optim.LBFGS:
    return torch.optim.LBFGS(
        [parameter for parameter in model.parameters() if parameter.requires_grad],
        lr=cfg.lr,
        max_iter=cfg.max_iter,
        history_size=cfg.history_size,
        line_search_fn="strong_wolfe" if cfg.line_search else None,
    )


# --------------------------------------------------------------------------------------- scheduler
def build_scheduler(
    optimizer: torch.optim.Optimizer, cfg: SchedulerConfig, total_steps: int
) -> LRScheduler:
    """Build lr(s) over optimizer steps s = 0 .. T = total_steps; call `.step()` once per step.

    With w = cfg.warmup_steps(T) every schedule but onecycle starts with lr(s) = lr * s/w, s < w;
    then
      constant     lr(s) = lr
      polynomial   lr(s) = (lr - lr_end) * (1 - (s-w)/(T-w))^power + lr_end
      cosine       lr(s) = (lr - lr_end) * (1 + cos(pi * (s-w)/(T-w)))/2 + lr_end
    and lr(s) = lr_end for s > T. onecycle is torch's OneCycleLR of the learning rate alone: the
    optimizer's momentum or betas stay as configured.

    Raises:
        ConfigError: cfg.name is not a known scheduler; w is not below T; lr_end is not within
            [0, optimizer.lr].
    Source: polynomial: torch-conv-kan's trainer; onecycle: Smith and Topin 2018, in torch.
    """
    require_choice("scheduler.name", cfg.name, tuple(SCHEDULERS))
    warmup = cfg.warmup_steps(total_steps)
    if warmup >= total_steps:
        raise ConfigError(
            f"scheduler.warmup={cfg.warmup}: must be less than the run's {total_steps} optimizer "
            f"steps; lower scheduler.warmup (say to {total_steps // 10}, or give a share of them, "
            "such as 0.1) or raise trainer.epochs"
        )
    lr = float(optimizer.defaults["lr"])
    if isinstance(cfg, OneCycleConfig):
        return OneCycleLR(
            optimizer,
            max_lr=lr,
            total_steps=total_steps,
            pct_start=cfg.pct_start,
            div_factor=cfg.div_factor,
            final_div_factor=cfg.final_div_factor,
            cycle_momentum=False,
        )
    decay = _decay_of(cfg, lr)
    # A partial, unlike a lambda, leaves nothing but an empty dict in the scheduler's state, which
    # torch.load(weights_only=True) reads back.
    return LambdaLR(optimizer, partial(_factor, warmup, total_steps, decay))


def _decay_of(cfg: SchedulerConfig, lr: float) -> Callable[[float], float]:
    """Return the function from progress in [0, 1] after warm-up to lr(s)/lr."""
    if isinstance(cfg, PolynomialConfig):
        return partial(_polynomial, cfg.power, _end_ratio(cfg.lr_end, lr))
    if isinstance(cfg, CosineConfig):
        return partial(_cosine, _end_ratio(cfg.lr_end, lr))
    if cfg.name == "constant":
        return _constant
    raise _wrong_type("scheduler", cfg, SCHEDULERS[cfg.name])


def _end_ratio(lr_end: float, lr: float) -> float:
    if not 0 <= lr_end <= lr:
        raise ConfigError(
            f"scheduler.lr_end={lr_end!r}: must lie in [0, optimizer.lr={lr!r}]; "
            "lower scheduler.lr_end or raise optimizer.lr"
        )
    return lr_end / lr


def _factor(warmup: int, total: int, decay: Callable[[float], float], step: int) -> float:
    """lr(s)/lr: a linear rise over the warm-up steps, then decay of the progress in [0, 1]."""
    if step < warmup:
        return step / warmup
    return decay(min((step - warmup) / (total - warmup), 1.0))


def _polynomial(power: float, end: float, progress: float) -> float:
    return (1 - end) * (1 - progress) ** power + end


def _cosine(end: float, progress: float) -> float:
    return (1 - end) * (1 + math.cos(math.pi * progress)) / 2 + end


def _constant(progress: float) -> float:
    return 1.0


def _wrong_type(group: str, cfg: Any, expected: type) -> ConfigError:
    return ConfigError(
        f"{group}.name={cfg.name!r} needs the fields of {expected.__name__}, but the config is a "
        f"{type(cfg).__name__}; choose the group's file with {group}={cfg.name}"
    )
