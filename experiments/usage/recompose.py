"""The config of a run, with what an evaluation of it may change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from experiments.config.augment import AugmentConfig
from experiments.config.compose import compose_group
from experiments.config.groups import parse_override
from experiments.config.keys import unknown_key
from experiments.config.parse import parse_config
from experiments.config.resume import complete, flatten
from experiments.config.schema import Config
from experiments.errors import CheckpointError, ConfigError
from experiments.tasks.windows import window_of
from models.description import Description

# What an evaluation reads of a config; all else has done its work in training.
READ = (
    "data", "metrics", "task", "trainer.evaluation_batch_size", "trainer.precision", "trainer.cpu",
    "trainer.threads", "trainer.channels_last", "trainer.deterministic", "trainer.progress",
)  # fmt: skip
# What decides the pixels that reach the network; where none of them is given, its description does.
PIXELS = ("image_size", "resize", "crop_ratio", "interpolation", "mean", "std", "alpha")
PRECISIONS = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}


@dataclass(frozen=True)
class Recomposed:
    """config: of the evaluation. other_data: whether other data may be meant than the run's.
    repixelled: whether images are to be shown in another way than in the run."""

    config: Config
    other_data: bool
    repixelled: bool


def recompose(
    saved: Mapping[str, Any], description: Description, overrides: Sequence[str]
) -> Recomposed:
    """The saved config of a run with `data=NAME` and key=value overrides in place of its own.

    Raises: ConfigError for an override that cannot be read, or that an evaluation does not read;
        CheckpointError for a saved config that is damaged.
    """
    try:
        values = complete(saved)
    except ValueError as error:
        raise CheckpointError(f"the run's config.yaml cannot be used: {error}") from error
    given = [_read(text) for text in overrides]
    for key, value in given:
        if key == "data":
            values["data"] = compose_group("data", str(value))
    values = complete(values)
    _show_as_trained(values, description)
    for key, value in given:
        if key != "data":
            _set(values, key, value)
    config = parse_config(values)
    trainer = (
        replace(  # no batch of training is made, and whoever asks for test images may see them
            config.trainer, batch_size=1, accumulation=1, overfit_batches=0, test=True
        )
    )
    keys = {key for key, _ in given}
    pixels = {f"data.{name}" for name in PIXELS} & keys
    return Recomposed(
        replace(config, trainer=trainer, augment=AugmentConfig()),
        other_data=any(key.partition(".")[0] == "data" for key in keys - pixels),
        repixelled=bool(pixels),
    )


def _read(text: str) -> tuple[str, Any]:
    override = parse_override(text)
    if override is None or override.is_sweep_override() or override.is_delete():
        raise ConfigError(f"{text}: an override is KEY=VALUE, for example data.root=PATH")
    key = override.key_or_group
    if not any(key == name or key.startswith(f"{name}.") for name in READ) or key in (
        "metrics", "task", "task.name", "data.name",
    ):  # fmt: skip
        raise ConfigError(
            f"{text}: an evaluation does not read {key}, or it is the run's own; it takes "
            "data=NAME and keys of data, metrics, task and trainer (evaluation_batch_size, "
            "precision, cpu)"
        )
    return key, override.value()


def _show_as_trained(values: dict[str, Any], description: Description) -> None:
    rule, data, task = description.preprocessing, values["data"], values["task"]
    if rule is None:
        return
    data |= {
        "mean": list(rule.mean),
        "std": list(rule.std),
        "interpolation": rule.interpolation,
        "alpha": rule.alpha,
        "resize": "pad" if rule.pad else "squash" if rule.stretch else "crop",
        "crop_ratio": None,
        "channels": description.input_channels,
    }
    if rule.window is None:  # volumes keep their sides
        data["image_size"] = data["image_size"] or rule.size  # made data have a size of theirs
    if "window" in task:
        task["window"] = window_of(task["window"], rule)


def _set(values: dict[str, Any], key: str, value: Any) -> None:
    known = [name for name, _ in flatten(values)]
    if key not in known and not isinstance(_at(values, key), dict):
        raise ConfigError(unknown_key(key, known))
    group, _, leaf = key.partition(".")
    values[group][leaf] = value


def _at(values: Mapping[str, Any], key: str) -> Any:
    group, _, leaf = key.partition(".")
    section = values.get(group)
    return section.get(leaf) if isinstance(section, dict) else None
