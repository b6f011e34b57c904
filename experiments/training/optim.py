"""Optimizers and learning-rate schedules built from their configs."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from timm.models import group_parameters
from timm.optim import Lamb, Lion, param_groups_layer_decay, param_groups_weight_decay
from torch import nn
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR

from experiments.config.checks import require_choice
from experiments.config.optim import (
    OPTIMIZERS,
    SCHEDULERS,
    AdamWConfig,
    CosineConfig,
    FallingConfig,
    FirstOrderConfig,
    LambConfig,
    LBFGSConfig,
    LionConfig,
    OneCycleConfig,
    OptimizerConfig,
    PolynomialConfig,
    SchedulerConfig,
    SGDConfig,
    WarmupConfig,
)
from experiments.errors import ConfigError


# --------------------------------------------------------------------------------------- optimizer
def build_optimizer(model: nn.Module, cfg: OptimizerConfig) -> torch.optim.Optimizer:
    """Build the optimizer named by cfg over the model's trainable parameters.

    Weight decay applies to parameters of two or more dimensions, coefficients of functions among
    them (a Chebyshev layer has no other weights). Biases, norms, learned basis shapes (`*.basis.*`
    and what a layer lists as `learned_shapes`: the rational functions of KAT, for one) and what the
    model's own `no_weight_decay()` names get none.

    With cfg.layer_decay the learning rate of layer l = 0 .. L is lr * layer_decay^(L - l), at every
    step of a schedule, whoever decays. Layers are those of the model's `group_matcher`; the head
    is the last one.

    AdamW and Lion decay decoupled from the gradient, w <- w - lr * weight_decay * w; SGD adds
    weight_decay * w to the gradient; LAMB adds it to the update before the layer's trust ratio, as
    its paper does. Gradients are clipped by the trainer alone: LAMB's own clipping is off.

    Raises:
        ConfigError: cfg.name is not one of the known optimizers; layer_decay for a model whose
            layers are not known, or which has one alone.
    Source: AdamW, SGD, LBFGS: torch. Lion (Chen et al. 2023), LAMB (You et al. 2020): timm.
        layer_decay: Bao et al. 2021 (BEiT), in timm. The published KAT decays its rational
        functions, KAN-ViT no Chebyshev coefficients.
    """
    require_choice("optimizer.name", cfg.name, tuple(OPTIMIZERS))
    if isinstance(cfg, LBFGSConfig):
        return _build_lbfgs(model, cfg)
    if not isinstance(cfg, FirstOrderConfig):
        raise _wrong_type("optimizer", cfg, OPTIMIZERS[cfg.name])
    decay = cfg.layer_decay
    groups = decay_groups(model, cfg.weight_decay) if decay is None else _layers(model, cfg, decay)
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
    return param_groups_weight_decay(model, weight_decay, no_weight_decay_list=_exempt(model))


def _exempt(model: nn.Module) -> list[str]:
    """The names of parameters that do not decay whatever their dimensions are."""
    exempt = getattr(model, "no_weight_decay", None)
    names = set(exempt()) if callable(exempt) else set()
    # Learned shapes (Gram betas, ReLU phases, a layer's `learned_shapes`) are positions and scales:
    # pulling them towards 0 changes the basis instead of shrinking the function. The names are
    # spelt out, since older versions of timm take no patterns; biases of several dimensions, since
    # timm's groups of layers pass them over.
    names |= {name for name, _ in model.named_parameters() if "basis" in name.split(".")[:-1]}
    names |= {name for name, _ in model.named_parameters() if name.endswith(".bias")}
    for prefix, module in model.named_modules():
        names |= {f"{prefix}.{name}".lstrip(".") for name in getattr(module, "learned_shapes", ())}
    return sorted(names)


def _layers(model: nn.Module, cfg: FirstOrderConfig, layer_decay: float) -> list[dict[str, Any]]:
    """The groups of decay_groups, each divided by layers, with learning rates of their own."""
    what = f"optimizer.layer_decay={layer_decay}: {type(model).__name__}"
    matcher = getattr(model, "group_matcher", None)
    if matcher is None:
        raise ConfigError(
            f"{what} does not say which layers its parameters form; give it a method group_matcher "
            "as timm's models have it, or type optimizer.layer_decay=null"
        )
    layers = group_parameters(model, matcher(coarse=False), reverse=True)
    if len(set(layers.values())) < 2:
        raise ConfigError(f"{what} is a single layer; type optimizer.layer_decay=null")
    groups: list[dict[str, Any]] = param_groups_layer_decay(
        model, cfg.weight_decay, no_weight_decay_list=_exempt(model), layer_decay=layer_decay
    )
    for group in groups:
        group["lr"] = cfg.lr * group.pop("lr_scale")
    return groups


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
    optimizer: torch.optim.Optimizer, cfg: SchedulerConfig, total_steps: int, steps_per_epoch: int
) -> LRScheduler:
    """Build lr(s) over optimizer steps s = 0 .. T = total_steps; call `.step()` once per step.

    With w steps of warm-up and c of cooldown every schedule but onecycle starts with
      lr(s) = lr_start + (lr - lr_start) * s/w, s < w
    then, with the progress p = (s-w)/(T-c-w), or s/(T-c) with `overlap`,
      constant     lr(s) = lr
      polynomial   lr(s) = (lr - lr_end) * (1 - p)^power + lr_end
      cosine       lr(s) = (lr - lr_end) * (1 + cos(pi * p))/2 + lr_end
    and lr(s) = lr_end for s > T - c. With `stairs` s is the first step of its epoch. onecycle is
    torch's OneCycleLR of the learning rate alone: the optimizer's momentum or betas stay as
    configured. Groups with learning rates of their own (layer_decay) keep their ratios.

    Raises:
        ConfigError: cfg.name is not a known scheduler; w + c is not below T; lr_start or lr_end is
            not within [0, optimizer.lr].
    Source: polynomial: torch-conv-kan's trainer; onecycle: Smith and Topin 2018, in torch. timm's
        cosine is lr_start=1e-5, stairs, overlap and a warmup of 5 epochs, by its defaults.
    """
    require_choice("scheduler.name", cfg.name, tuple(SCHEDULERS))
    if isinstance(cfg, OneCycleConfig):
        return OneCycleLR(
            optimizer,
            max_lr=[group["lr"] for group in optimizer.param_groups],
            total_steps=total_steps,
            pct_start=cfg.pct_start,
            div_factor=cfg.div_factor,
            final_div_factor=cfg.final_div_factor,
            cycle_momentum=False,
        )
    if not isinstance(cfg, WarmupConfig):
        raise _wrong_type("scheduler", cfg, SCHEDULERS[cfg.name])
    warmup, end = _span(cfg, total_steps, steps_per_epoch)
    lr = float(optimizer.defaults["lr"])
    start = _ratio("lr_start", cfg.lr_start, lr)
    decay = _decay_of(cfg, lr)
    since = 0 if isinstance(cfg, FallingConfig) and cfg.overlap else warmup
    stair = steps_per_epoch if cfg.stairs else 1
    # A partial, unlike a lambda, leaves nothing but an empty dict in the scheduler's state, which
    # torch.load(weights_only=True) reads back.
    return LambdaLR(optimizer, partial(_factor, warmup, since, end, start, stair, decay))


def _span(cfg: WarmupConfig, total_steps: int, steps_per_epoch: int) -> tuple[int, int]:
    """The steps at which the warm-up ends, and the fall.

    Raises: ConfigError if none is left between them.
    """
    cooldown = cfg.cooldown if isinstance(cfg, FallingConfig) else 0
    warmup = cfg.steps(cfg.warmup, total_steps, steps_per_epoch)
    end = total_steps - cfg.steps(cooldown, total_steps, steps_per_epoch)
    if warmup < end:
        return warmup, end
    given = f"scheduler.warmup={cfg.warmup}"
    given += f" with scheduler.cooldown={cooldown}" if cooldown else ""
    epochs = f" ({steps_per_epoch} an epoch)" if cfg.unit == "epoch" else ""
    raise ConfigError(
        f"{given}: must be less than the run's {total_steps} optimizer steps{epochs}; lower "
        f"scheduler.warmup{' or scheduler.cooldown' if cooldown else ''} (say to a share of all "
        "steps, such as 0.1) or raise trainer.epochs"
    )


def _decay_of(cfg: SchedulerConfig, lr: float) -> Callable[[float], float]:
    """Return the function from progress in [0, 1] after warm-up to lr(s)/lr."""
    if isinstance(cfg, PolynomialConfig):
        return partial(_polynomial, cfg.power, _ratio("lr_end", cfg.lr_end, lr))
    if isinstance(cfg, CosineConfig):
        return partial(_cosine, _ratio("lr_end", cfg.lr_end, lr))
    if cfg.name == "constant":
        return _constant
    raise _wrong_type("scheduler", cfg, SCHEDULERS[cfg.name])


def _ratio(key: str, value: float, lr: float) -> float:
    """value / lr, of a learning rate that may not exceed the peak."""
    if not 0 <= value <= lr:
        raise ConfigError(
            f"scheduler.{key}={value!r}: must lie in [0, optimizer.lr={lr!r}]; "
            f"lower scheduler.{key} or raise optimizer.lr"
        )
    return value / lr


def _factor(
    warmup: int, since: int, end: int, start: float, stair: int,
    decay: Callable[[float], float], step: int,
) -> float:  # fmt: skip
    """lr(s)/lr: a linear rise over the warm-up steps, then decay of the progress in [0, 1]."""
    step -= step % stair
    if step < warmup:
        return start + (1 - start) * step / warmup
    return decay(min((step - since) / (end - since), 1.0))


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
