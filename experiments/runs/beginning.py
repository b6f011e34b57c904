"""What a network begins with, and what of it is frozen: keys model.weights and model.freeze."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rich.console import Console
from torch import nn

from experiments.config.schema import Config
from experiments.errors import ConfigError
from experiments.training.tensor_files import sha256_of
from models.description import Description
from models.parts import Frozen, freeze
from models.trained import read_trained
from models.weights import Taken, take_weights

SHOWN = 5  # tensors of a kind that the terminal names


def begin_with_weights(
    model: nn.Module, config: Config, here: Description
) -> tuple[list[str], dict[str, Any]]:
    """Take over the weights of model.weights; return what became of them, as lines and for the
    manifest.

    here: what the network of this run is.

    Raises: ConfigError for a source that cannot be read, or has the weights of another network.
    """
    source = config.model["weights"]
    try:
        trained = read_trained(source)
        taken = take_weights(model, trained, here=here)
    except ValueError as error:
        raise ConfigError(f"model.weights={source}: {error}") from error
    notes = list(taken.notes)
    if there := trained.description:
        notes += _other_classes(there, here)
    sha256 = None if trained.file is None else sha256_of(trained.file)
    record = {"source": source, "sha256": sha256, **asdict(taken), "notes": notes}
    record["resized"] = {key: [list(shape) for shape in v] for key, v in taken.resized.items()}
    return [f"begins with {source}: {_counted(taken)}", *notes], record


def _counted(taken: Taken) -> str:
    parts = [f"{len(taken.taken)} tensors taken"]
    for names, what in (
        (taken.resized, "resized"),
        (taken.left, "left as they were drawn"),
        (taken.unused, "not used"),
    ):
        more = ", ..." if len(names) > SHOWN else ""
        named = f" ({', '.join(list(names)[:SHOWN])}{more})" if names else ""
        parts.append(f"{len(names)} {what}{named}")
    return ", ".join(parts)


def _other_classes(there: Description, here: Description) -> list[str]:
    """What is to be said where as many classes have other names: the head is taken all the same."""
    if not there.class_names or len(there.class_names) != len(here.class_names):
        return []
    pairs = [(a, b) for a, b in zip(there.class_names, here.class_names, strict=True) if a != b]
    if not pairs:
        return []
    return [
        f"as many classes as there, of other names ({pairs[0][0]} there is {pairs[0][1]} here): "
        "the head is taken as it was"
    ]


def freeze_parts(model: nn.Module, config: Config) -> Frozen:
    """Freeze what model.freeze names. Raises: ConfigError where there is no such part."""
    try:
        return freeze(model, config.model["freeze"])
    except ValueError as error:
        raise ConfigError(f"model.{error}") from error


def take_up_weights(
    model: nn.Module, config: Config, here: Description, console: Console
) -> dict[str, Any] | None:
    """Give the model the weights of model.weights, unless a checkpoint is to give all it has."""
    if config.trainer.start_from is not None:
        return None
    lines, record = begin_with_weights(model, config, here)
    for line in lines:
        console.print(line)
    return record
