"""From a config to a model, which has run once before a run has a place."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from conv_kan.layers.mixture import mixture_penalty
from experiments.config.beginning import without_beginning
from experiments.config.schema import Config
from experiments.errors import ConfigError, or_words, shortage
from experiments.runs.beginning import freeze_parts
from models import create_model
from models.match import Match, match
from models.registry import MATCH

LARGEST = 64  # the side up to which one is looked for that works

Forward = Callable[[nn.Module, Tensor], Any]


def check_model(config: Config) -> None:
    """Build the model without memory or work, so that an impossible one fails before data loads.

    So does one that says itself that it cannot learn (its `training_problem`), or that has no part
    which is to be frozen. Its width may still be unknown: what it is to match is only as large as
    the data make it.
    """
    channels = config.data.channels or 3
    options = {key: value for key, value in _options(config).items() if key not in MATCH}
    with torch.device("meta"):
        model = make_model(config, config.data.num_classes or 10, channels, options)
    problem = getattr(model, "training_problem", "")
    if problem:
        raise ConfigError(f"model {config.model['name']}: {problem}")
    freeze_parts(model, config)


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
        named = str(error).startswith(f"{name}: ")  # the registry names the model already
        raise ConfigError(f"model {error}" if named else f"model {name}: {error}") from error


def _options(config: Config) -> dict[str, Any]:
    return {key: v for key, v in without_beginning(config.model).items() if key != "name"}


def check_sizes(
    model: nn.Module,
    config: Config,
    shapes: Mapping[str, Sequence[int]],
    micro_batch: int,
    forward: Forward,
) -> None:
    """Run a model on what an evaluation shows it and, where that has another size, training.

    shapes: Task.passed_shapes. Raises: ConfigError: see check_forward.
    """
    *others, (option, training) = shapes.items()
    known = None
    for other, shape in others:
        if shape != training:
            check_forward(model, config, shape, 2, forward, other)
            known = shape
    check_forward(model, config, training, micro_batch, forward, option, known)


def check_forward(
    model: nn.Module,
    config: Config,
    shape: Sequence[int],
    batch: int,
    forward: Forward = nn.Module.__call__,
    option: str = "data.image_size",
    known: Sequence[int] | None = None,
) -> None:
    """Run a model as a training step does, on two images at most, and leave it as it was.

    batch: the images of a micro-batch: a batch norm over one value of one image cannot be trained.
    forward: how the task runs a model, and judges what it returns (Task.check_model).
    option: what decides the size. known: another size, of an evaluation, that the model takes.
    Shapes: shape, known (channels, *S).

    Raises: ConfigError: these inputs are not for this model -> its reason, and a size that works.
    """
    error = _failure(model, shape, batch, forward)
    if error is None:
        return
    ways: list[str] = []
    if known is None:
        found = _working_size(model, shape, batch, forward)
    else:  # then training is to have that size
        works = len(set(known[1:])) == 1 and _failure(model, known, batch, forward) is None
        option, found = "augment.size", known[1] if works else None
    if isinstance(error, RuntimeError) and found is None:
        raise error  # a fault of the model, whose place matters
    if found is not None:
        ways.append(f"type {option}={found}, which works")
    if batch == 1 and _failure(model, shape, 2, forward) is None:
        ways.append("use a larger trainer.batch_size for each process")
    way = or_words([*ways, "choose another model"])
    raise ConfigError(
        f"model {config.model['name']} cannot be trained on inputs of {_sides(shape)}: {error}\n"
        f"{way[0].upper()}{way[1:]}"
    ) from error


def _failure(
    model: nn.Module, shape: Sequence[int], batch: int, forward: Forward
) -> Exception | None:
    inputs = torch.zeros(min(batch, 2), *shape)
    try:
        with _undisturbed(model), torch.no_grad():
            forward(model.train(), inputs)
    except (ValueError, RuntimeError) as error:
        if found := shortage(error):
            raise found from error
        return error
    return None


def _working_size(
    model: nn.Module, shape: Sequence[int], batch: int, forward: Forward
) -> int | None:
    """The side of a square that the model takes: of one of two sides, or the longer one doubled,
    and doubled again."""
    channels, *size = shape
    for side in sorted(set(size)) if len(set(size)) == 2 and len(size) == 2 else ():
        if _failure(model, (channels, side, side), batch, forward) is None:
            return side
    side = max(size)
    while len(size) == 2 and (side := 2 * side) <= LARGEST:
        if _failure(model, (channels, side, side), batch, forward) is None:
            return side
    return None


def _sides(shape: Sequence[int]) -> str:
    """The spatial size in words; for what has none, its channels."""
    return " x ".join(map(str, shape[1:] or shape))


@contextmanager
def _undisturbed(model: nn.Module) -> Iterator[None]:
    """Afterwards modes, buffers and random numbers are what they were."""
    modes = {module: module.training for module in model.modules()}
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        mixture_penalty(model)  # of this pass: a step of training would count it
        for buffer, value in buffers:
            buffer.copy_(value)
        for module, training in modes.items():
            module.training = training
