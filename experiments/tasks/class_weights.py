"""Weights of classes in a loss: given, or such that every class counts as much as another."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from experiments.config.checks import BALANCED
from experiments.data.notes import say
from experiments.errors import ConfigError

Counts = Callable[[], Tensor]  # how many training targets each class has, (C,)


def class_weights(
    given: str | Sequence[float] | None, num_classes: int, counts: Counts | None = None
) -> Tensor | None:
    """The weights w (C,) of loss.class_weights, float32, of mean 1; None for equal ones.

    balanced: w_c ~ 1 / n_c, with n_c the targets (images, or pixels) of class c in training; a
    class without any has weight 0, since nothing can be learnt of it.

    Raises: ConfigError for another number of weights than num_classes.
    """
    if given is None:
        return None
    if given == BALANCED:
        assert counts is not None, "the task counts its classes"
        n = counts().double()
        raw = torch.where(n > 0, 1 / n.clamp_min(1), 0)
    else:
        if len(given) != num_classes:
            raise ConfigError(
                f"loss.class_weights has {len(given)} weights: must hold one per class, and there "
                f"are {num_classes}; give {num_classes} numbers, or null for equal weights"
            )
        raw = torch.tensor(given, dtype=torch.float64)
    weights = (raw / raw.mean()).float()
    if given == BALANCED:
        least, most = float(weights[weights > 0].min()), float(weights.max())
        say(f"loss.class_weights=balanced: from {least:.3g} to {most:.3g}, by the training targets")
    return weights
