"""From a config to a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from experiments.config.schema import Config
from experiments.errors import ConfigError
from models import create_model
from models.match import Match, match
from models.registry import MATCH


def check_model(config: Config) -> None:
    """Build the model without memory or work, so that an impossible one fails before data loads.

    So does one that says itself that it cannot learn (its `training_problem`). Its width may still
    be unknown: what it is to match is only as large as the data make it.
    """
    channels = config.data.channels or 3
    options = {key: value for key, value in _options(config).items() if key not in MATCH}
    with torch.device("meta"):
        model = make_model(config, config.data.num_classes or 10, channels, options)
    problem = getattr(model, "training_problem", "")
    if problem:
        raise ConfigError(f"model {config.model['name']}: {problem}")


def matched_options(
    config: Config, num_classes: int, input_shape: Sequence[int]
) -> tuple[dict[str, Any], Match | None]:
    """The options of the model, at the width that model.match asks for, and what was matched."""
    options = _options(config)
    reference, by = (options.get(key) for key in MATCH)
    if reference is None:
        return options, None
    own = {key: value for key, value in options.items() if key not in MATCH}
    try:
        found = match(
            config.model["name"],
            reference,
            by=str(by),
            num_classes=num_classes,
            input_shape=input_shape,
            **own,
        )
    except ValueError as error:
        raise ConfigError(f"model.match={reference}: {error}") from error
    return dict(found.options), found


def make_model(
    config: Config,
    num_classes: int,
    input_channels: int,
    options: Mapping[str, Any] | None = None,
) -> nn.Module:
    """The model of the config, with these options in place of its own if they are given."""
    name, given = config.model["name"], _options(config) if options is None else options
    try:
        return create_model(name, num_classes=num_classes, input_channels=input_channels, **given)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"model {name}: {error}") from error


def _options(config: Config) -> dict[str, Any]:
    return {key: value for key, value in config.model.items() if key != "name"}
