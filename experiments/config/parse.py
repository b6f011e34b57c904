"""From nested values to a `Config`: checks every key, type and rule; errors name the way on."""

from __future__ import annotations

import math
import re
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields, is_dataclass
from typing import Any, TypeVar, get_type_hints

from experiments.config.augment import AugmentConfig, check_pairs
from experiments.config.beginning import BEGINNING, BeginningConfig, without_beginning
from experiments.config.checks import BALANCED, require
from experiments.config.data import DataConfig
from experiments.config.keys import unknown_key
from experiments.config.losses import PenaltyConfig
from experiments.config.optim import OPTIMIZERS, SCHEDULERS
from experiments.config.schema import Config
from experiments.config.seeds import SeedsConfig
from experiments.config.trainer import TrackerConfig, TrainerConfig
from experiments.errors import ConfigError, nearest
from experiments.tasks.rows import TASKS, TaskRow, task_row
from models.options import describe, describe_type
from models.registry import (
    check_options,
    check_task,
    list_models,
    model_options,
    parse_reference,
)

T = TypeVar("T")

PLAIN_GROUPS: dict[str, type] = {
    "seeds": SeedsConfig,
    "data": DataConfig,
    "augment": AugmentConfig,
    "penalty": PenaltyConfig,
    "trainer": TrainerConfig,
    "tracker": TrackerConfig,
}
TASK_GROUPS = ("task", "loss", "metrics")  # typed by the task's row
NAMED_GROUPS: dict[str, Mapping[str, type]] = {"optimizer": OPTIMIZERS, "scheduler": SCHEDULERS}


def parse_config(values: dict[str, Any]) -> Config:
    """Turn the nested values of a composed config into a Config.

    Raises ConfigError: a key that no group or chosen option has (names the nearest), a value of
    the wrong type, a value that breaks a rule of the schema or of the model registry.
    """
    _reject_unknown("", values, [f.name for f in fields(Config)])
    parsed: dict[str, Any] = {"model": parse_model(_section(values, "model"))}
    for group, cls in PLAIN_GROUPS.items():
        parsed[group] = build_group(cls, _section(values, group), group)
    for group, table in NAMED_GROUPS.items():
        parsed[group] = _build_named(table, _section(values, group), group)
    parsed.update(parse_task(values))
    for key in ("name", "seed", "runs_dir"):
        if values.get(key) is None:
            example = {"name": "run", "seed": "0", "runs_dir": "runs"}[key]
            raise ConfigError(f"{key} needs a value, for example {key}={example}")
        parsed[key] = _convert(get_type_hints(Config)[key], values[key], key)
    rule = "must be 0 or more, and less than 2^63"
    require(0 <= parsed["seed"] < 2**63, "seed", parsed["seed"], rule)
    _check_together(parsed)
    return Config(**parsed)


def _check_together(parsed: dict[str, Any]) -> None:
    """The rules that bind values of several groups; and trainer.monitor by its own name."""
    trainer, row = parsed["trainer"], task_row(parsed["task"].name)
    trainer.monitor = row.figure(trainer.monitor or row.monitors[0].name).name
    _check_model(parsed["model"]["name"], row)
    check_pairs(parsed["augment"], trainer)
    if parsed["data"].balance and getattr(parsed["loss"], "class_weights", None) == BALANCED:
        raise ConfigError(
            "loss.class_weights=balanced with data.balance=true: each of them makes classes count "
            "alike, and both count rare ones twice; type one"
        )
    if trainer.patience is not None and parsed["data"].fit == "all":
        raise ConfigError(
            f"trainer.patience={trainer.patience} with data.fit=all: there is no validation by "
            "which to stop; type trainer.patience=null or data.fit=train"
        )
    if parsed["optimizer"].name == "lbfgs" and trainer.precision == "fp16":
        raise ConfigError(
            "optimizer=lbfgs with trainer.precision=fp16: a line search cannot use a loss scaler; "
            "type trainer.precision=bf16 or trainer.precision=no"
        )


def _check_model(name: str, row: TaskRow) -> None:
    """Refuse a model whose outputs are not those of the task. Raises: ConfigError."""
    try:
        if row.models is not None:
            check_task(name, row.models)
    except ValueError as error:
        raise ConfigError(f"model={name}, task={row.name}: {error}") from error


def parse_task(values: dict[str, Any]) -> dict[str, Any]:
    """The groups `task`, `loss` and `metrics`, whose types are those of the task's row.

    Raises ConfigError: an unknown task, a loss that the task does not have (names those it has), an
    option of another one.
    """
    section = _section(values, "task")
    row = task_row(str(section.get("name")))
    loss = values.get("loss") or {}
    if loss.get("name") not in row.losses:
        _refuse_loss(row, loss)
    return {
        "task": build_group(row.options, section, "task"),
        "loss": _build_named(row.losses, loss, "loss") if row.losses else None,
        "metrics": build_group(row.metrics, values.get("metrics") or {}, "metrics"),
    }


def _refuse_loss(row: TaskRow, loss: dict[str, Any]) -> None:
    """Raise ConfigError for the loss of another task, if it is one; others are told elsewhere."""
    name = loss.get("name")
    if not row.losses and loss:
        raise ConfigError(
            f"loss={name}: task={row.name} has a loss of its own, without options; leave loss out"
        )
    owners = [other.name for other in TASKS.values() if name in other.losses]
    if owners:
        raise ConfigError(
            f"loss={name} is a loss of task={', '.join(owners)}, not of task={row.name}\n"
            f"Choose one with loss=NAME: {', '.join(row.losses)}"
        )


def parse_model(values: dict[str, Any]) -> dict[str, Any]:
    """Check a model section against the options of its registry row and fill in the defaults.

    Raises ConfigError: unknown model, option of another basis, wrong type (from the registry).
    """
    name = values.get("name")
    if not isinstance(name, str):
        raise ConfigError(
            "model.name is missing: choose one with model=NAME, for example model=simple_conv_kagn"
        )
    try:
        own = without_beginning(values)
        options = check_options(name, {k: v for k, v in own.items() if k != "name"})
        if options.get("match") is not None:
            parse_reference(options["match"])
    except ValueError as error:
        raise ConfigError(f"model: {error}") from error
    given = {key: values[key] for key in BEGINNING if key in values}
    beginning = build_group(BeginningConfig, given, "model")
    return {"name": name, **asdict(beginning), **plain_options(options)}


def plain_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as YAML holds them: lists for tuples."""
    return {k: list(v) if isinstance(v, tuple) else v for k, v in options.items()}


def to_dict(config: Config) -> dict[str, Any]:
    """The config as plain dicts, lists and numbers: what config.yaml and checkpoints hold."""
    return asdict(config)


def keys_of_all_choices() -> Iterator[str]:
    """The dotted keys of every optimizer, scheduler, loss and model, whichever is chosen."""
    losses = {name: cls for row in TASKS.values() for name, cls in row.losses.items()}
    for group, table in {**NAMED_GROUPS, "loss": losses}.items():
        yield from (f"{group}.{f.name}" for cls in table.values() for f in fields(cls))
    for model in list_models():
        yield from (f"model.{option}" for option in (*BEGINNING, *model_options(model)))


def _section(values: dict[str, Any], group: str) -> dict[str, Any]:
    section = values.get(group)
    if not isinstance(section, dict):
        raise ConfigError(f"{group} is missing: choose one with {group}=NAME")
    return section


def _build_named(table: Mapping[str, type], values: dict[str, Any], group: str) -> Any:
    name = str(values.get("name"))
    if name not in table:
        raise ConfigError(
            f"{group}.name={name!r} is not known{nearest(name, table)}\n"
            f"Choose one with {group}=NAME: {', '.join(table)}"
        )
    known = {f.name for f in fields(table[name])}
    for key in values:
        owners = [n for n, cls in table.items() if key in {f.name for f in fields(cls)}]
        if key not in known and owners:
            raise ConfigError(
                f"{group}.{key} is an option of {', '.join(owners)}, not of {name}; "
                f"the options of {name}: {', '.join(sorted(known))}"
            )
    return build_group(table[name], values, group)


def build_group(cls: type[T], values: dict[str, Any], group: str) -> T:
    """The dataclass of a group from its values.

    Raises ConfigError: a key that it does not have, a wrong type, a broken rule.
    """
    assert is_dataclass(cls)
    hints = get_type_hints(cls)
    _reject_unknown(f"{group}.", values, hints)
    converted = {k: _convert(hints[k], v, f"{group}.{k}") for k, v in values.items()}
    return cls(**converted)


def _reject_unknown(prefix: str, values: Mapping[str, Any], known: Any) -> None:
    for key in values:
        if key not in known:
            raise ConfigError(unknown_key(f"{prefix}{key}", [f"{prefix}{k}" for k in known]))


def _convert(hint: Any, value: Any, key: str) -> Any:
    """Check value against a type hint: bool, int, float, str, dict, list[float], or `| None`."""
    options = getattr(hint, "__args__", (hint,)) if "|" in str(hint) else (hint,)
    for option in options:
        ok, result = _match(option, value)
        if ok:
            _refuse_infinite(key, result)
            return result
    given = f"not {describe(value)}"
    elements = typing.get_args(options[0])
    if isinstance(value, list) and elements:
        wrong = next(i for i, item in enumerate(value) if not _match(elements[0], item)[0])
        given = f"but element {wrong + 1} is {value[wrong]!r}"
    raise ConfigError(
        f"{key}={value!r}: must be {describe_type(hint)}, {given}{_way(options, value, key)}"
    )


_BOOLEANS = {"yes": "true", "on": "true", "1": "true", "true": "true"}
_BOOLEANS |= {"no": "false", "off": "false", "0": "false", "false": "false"}


def _way(options: Sequence[Any], value: Any, key: str) -> str:
    """What to type for a value that says what is meant, but in another type."""
    text = str(value).strip().lower()
    if bool in options and text in _BOOLEANS:
        return f"; type {key}={_BOOLEANS[text]}"
    if str in options and isinstance(value, (int, float)) and not isinstance(value, bool):
        return f"; for a text type \"{key}='{value}'\", with both pairs of quotes"
    if isinstance(value, bool) or not {int, float} & set(options):
        return ""
    try:
        number = float(text)
    except ValueError:
        return ""
    if number.is_integer():
        return f"; type {key}={int(number)}"
    return f"; type {key}={number}" if float in options else ""


def _refuse_infinite(key: str, value: Any) -> None:
    """Raise ConfigError for a NaN or an infinity, which no key means; the model registry does so
    for its options."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{key}={value!r}: must be a finite number")
    if isinstance(value, (list, tuple)):
        for i, item in enumerate(value):
            _refuse_infinite(f"{key}[{i}]", item)


def _match(hint: Any, value: Any) -> tuple[bool, Any]:
    if hint is type(None):
        return value is None, None
    if getattr(hint, "__origin__", None) is list:
        (item,) = hint.__args__
        if not isinstance(value, (list, tuple)):
            return False, None
        parts = [_match(item, v) for v in value]
        return all(ok for ok, _ in parts), [v for _, v in parts]
    if hint is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return True, float(value)
    if hint is float and isinstance(value, str) and re.fullmatch(r"[-+]?\d+e[-+]?\d+", value):
        return True, float(value)  # YAML 1.1 reads 1e-3 as text
    if hint is int and isinstance(value, bool):
        return False, None
    return isinstance(value, hint), value
