"""Models by name: list them, read their options, build them."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import yaml

from models.entry import TASKS, Entry
from models.options import Option, advise, nearest_names
from models.rows import ROWS
from models.rows.common import KAN_HEADS
from models.rows.published import OPTIONS as PUBLISHED_OPTIONS

if TYPE_CHECKING:
    from torch import nn

    from models.entry import Builder

_SIZES = (
    Option("num_classes", int, None, "logits per image", minimum=1),
    Option("input_channels", int, None, "channels of the images", minimum=1),
)
# What networks with a width or with twins can be told beside their own options.
_MATCHING = (
    Option("match", str | None, None, "a model, or 'NAME option=value ...', whose size this one is "
           "given by its width; one without a width must have it already"),
    Option("match_by", str, "parameters", "the size that match compares",
           choices=("parameters", "macs")),
)  # fmt: skip
MATCH = tuple(option.name for option in _MATCHING)
RESERVED = ("weights", "freeze")  # what a run says of a network beside its options
_MODELS: dict[str, Entry] = {}
_LISTENERS: list[Callable[[str], None]] = []  # called with the name of a model that is added


def _add(entry: Entry) -> None:
    if entry.has_twins or any(option.is_width for option in entry.options):
        entry = replace(entry, options=(*entry.options, *_MATCHING))
    if taken := [name for name in RESERVED if name in entry.by_name]:
        raise ValueError(
            f"model {entry.name!r}: runs have a key model.{taken[0]} already; give the option "
            "another name"
        )
    if entry.name in _MODELS:
        raise ValueError(f"model {entry.name!r} is registered already; choose another name")
    _MODELS[entry.name] = entry


for _row in ROWS:
    _add(_row)


def register(
    name: str,
    *,
    options: Sequence[Option],
    basis: str | None = None,
    task: str = "classification",
) -> Callable[[Builder], Builder]:
    """Return a decorator that adds a builder under name.

    The builder is called as `build(num_classes=..., input_channels=..., **options)` with every
    option of the table given. basis says whose options the model has, for error messages. A model
    whose task is segmentation returns logits of every position. timm knows the model from then on,
    too.

    Raises: ValueError if the name is taken, two options share a name, one is called weights or
        freeze, or the task is unknown.
    """

    def add(build: Builder) -> Builder:
        _add(Entry(name, build, options, basis, task=task))
        for listener in _LISTENERS:
            listener(name)
        return build

    return add


def follow(listener: Callable[[str], None]) -> None:
    """Call a function with the name of every model that is registered from now on."""
    _LISTENERS.append(listener)


def list_models(pattern: str = "*", *, task: str | None = None) -> list[str]:
    """Return the names that match a shell pattern ("vgg*"), sorted; those of a task, or all.

    Raises: ValueError for an unknown task -> classification or segmentation.
    """
    if task is not None and task not in TASKS:
        raise ValueError(f"task={task!r} is not known; {advise(task, TASKS)}")
    names = fnmatch.filter(_MODELS, pattern)
    return sorted(name for name in names if task in (None, _MODELS[name].task))


def model_task(name: str) -> str:
    """Return what a model is for: classification (logits) or segmentation (maps of logits).

    Raises: ValueError for an unknown model, naming the nearest ones.
    """
    return _entry(name).task


def check_task(name: str, task: str) -> None:
    """Refuse a model whose outputs are no answers to a task.

    Raises: ValueError, naming what the model returns, what the task needs, and how to find models.
    """
    own = model_task(name)
    if own != task:
        raise ValueError(
            f"{name} is for {own} and returns {TASKS[own]}, where {task} needs {TASKS[task]}; "
            f"choose a model of list_models(task={task!r})"
        )


def model_options(name: str) -> dict[str, Option]:
    """Return the options of a model by name, each with its type, default and help.

    Raises: ValueError for an unknown model, naming the nearest ones.
    """
    return dict(_entry(name).by_name)


def check_options(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return all options of a model, the given ones checked, the others at their defaults.

    Raises: ValueError for an unknown model or option, a wrong type or a value out of limits.
    """
    entry = _entry(name)
    values = {key: option.default for key, option in entry.by_name.items()}
    for key, value in options.items():
        if key not in entry.by_name:
            raise ValueError(_unknown_option(entry, key))
        values[key] = _checked(entry.name, entry.by_name[key], value)
    return values


def parse_reference(text: str) -> tuple[str, dict[str, Any]]:
    """ "name option=value ..." -> the name and all options, checked; values are read as YAML.

    Raises: ValueError for a part that is no option=value, and as check_options.
    """
    name, *parts = text.split()
    given: dict[str, Any] = {}
    for part in parts:
        key, separator, value = part.partition("=")
        if not separator:
            raise ValueError(
                f"match={text!r}: {part!r} is no option=value; write NAME, or "
                "'NAME option=value ...' without spaces within a value"
            )
        given[key] = yaml.safe_load(value)
    values = check_options(name, given)
    return name, {key: value for key, value in values.items() if key not in MATCH}


def is_kan(name: str, options: Mapping[str, Any]) -> bool:
    """Whether a model learns functions, in its body or where its options say so.

    Raises: ValueError for an unknown model, naming the nearest ones.
    """
    entry = _entry(name)
    defaults = {key: option.default for key, option in entry.by_name.items()}
    values = {**defaults, **options}
    return (
        entry.basis is not None
        or values.get("head") in KAN_HEADS
        or values.get("feed_forward", "mlp") != "mlp"
    )


def build_model(
    name: str, *, num_classes: int, input_channels: int, options: Mapping[str, Any]
) -> nn.Module:
    """Build a model by its registered name, as wide as its options say; see create_model."""
    values = check_options(name, options)
    for option, value in zip(_SIZES, (num_classes, input_channels), strict=True):
        _checked(name, option, value)
    build = _entry(name).load()
    own = {key: value for key, value in values.items() if key not in MATCH}
    try:
        return build(num_classes=num_classes, input_channels=input_channels, **own)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def _entry(name: str) -> Entry:
    if name not in _MODELS:
        close = nearest_names(name, _MODELS, 3)
        hint = f"; the nearest are {', '.join(close)}" if close else ""
        raise ValueError(f"unknown model {name!r}{hint}; list_models() names all {len(_MODELS)}")
    return _MODELS[name]


def _checked(model: str, option: Option, value: Any) -> Any:
    try:
        return option.check(value)
    except ValueError as error:
        raise ValueError(f"{model}: {error}") from None


def _unknown_option(entry: Entry, key: str) -> str:
    """Say whether key is a published network's, another basis's, another model's, or misspelt."""
    if key in PUBLISHED_OPTIONS:
        return f"{entry.name} has no option {key!r}; {PUBLISHED_OPTIONS[key]}"
    having = [other for other in _MODELS.values() if key in other.by_name]
    owners = {o.basis: None for o in having if o.basis and o.by_name[key].of_basis}
    if owners:
        kind = entry.basis or "no basis"
        own = [option.name for option in entry.options if option.of_basis]
        has = f" has {', '.join(own)}" if own else " has no such options"
        return f"{key} is an option of {_join(owners)} models; {entry.name} ({kind}){has}"
    where = f" (it belongs to {', '.join(o.name for o in having[:3])})" if having else ""
    return f"{entry.name} has no option {key!r}{where}; {advise(key, entry.by_name)}"


def _join(words: Iterable[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last
