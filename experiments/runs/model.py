"""From a config to a model."""

from __future__ import annotations

import torch
from torch import nn

from experiments.config.schema import Config
from experiments.errors import ConfigError
from models import create_model


def check_model(config: Config) -> None:
    """Build the model without memory or work, so that an impossible one fails before data loads.

    So does one that says itself that it cannot learn (its `training_problem`).
    """
    with torch.device("meta"):
        model = make_model(config, config.data.num_classes or 10, config.data.channels or 3)
    problem = getattr(model, "training_problem", "")
    if problem:
        raise ConfigError(f"model {config.model['name']}: {problem}")


def make_model(config: Config, num_classes: int, input_channels: int) -> nn.Module:
    options = {k: v for k, v in config.model.items() if k != "name"}
    try:
        return create_model(
            config.model["name"], num_classes=num_classes, input_channels=input_channels, **options
        )
    except (ValueError, TypeError) as error:
        raise ConfigError(f"model {config.model['name']}: {error}") from error
