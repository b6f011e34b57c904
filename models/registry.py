"""Models by name: list them, read their options, build them.

For example `create_model("simple_conv_kagn", num_classes=10, input_channels=3, degree=4)`.
"""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from models.options import Option, nearest

Builder = Callable[..., nn.Module]

_SIZES = (
    Option("num_classes", int, None, "logits per image", minimum=1),
    Option("input_channels", int, None, "channels of the images", minimum=1),
)


@dataclass(frozen=True)
class Entry:
    """A row of the registry: `build(num_classes, input_channels, **options)` makes the model."""

    name: str
    build: Builder
    options: Mapping[str, Option]
    basis: str | None  # None: the model has no basis


_MODELS: dict[str, Entry] = {}


def register(
    name: str, *, options: Sequence[Option], basis: str | None = None
) -> Callable[[Builder], Builder]:
    """Return a decorator that adds a builder under name.

    The builder is called as `build(num_classes=..., input_channels=..., **options)` with every
    option of the table given. basis says whose options the model has, for error messages.

    Raises: ValueError if the name is taken or two options share a name.
    """
    table = {option.name: option for option in options}
    if name in _MODELS:
        raise ValueError(f"model {name!r} is registered already; choose another name")
    if len(table) != len(options):
        raise ValueError(f"model {name!r}: two options have the same name")

    def add(build: Builder) -> Builder:
        _MODELS[name] = Entry(name, build, table, basis)
        return build

    return add


def list_models(pattern: str = "*") -> list[str]:
    """Return the names that match a shell pattern ("vgg*"), sorted."""
    return sorted(fnmatch.filter(_MODELS, pattern))


def model_options(name: str) -> dict[str, Option]:
    """Return the options of a model by name, each with its type, default and help.

    Raises: ValueError for an unknown model, naming the nearest ones.
    """
    return dict(_entry(name).options)


def check_options(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return all options of a model, the given ones checked, the others at their defaults.

    Raises: ValueError for an unknown model or option, a wrong type or a value out of limits.
    """
    entry = _entry(name)
    values = {key: option.default for key, option in entry.options.items()}
    for key, value in options.items():
        if key not in entry.options:
            raise ValueError(_unknown_option(entry, key))
        values[key] = _checked(entry.name, entry.options[key], value)
    return values


def create_model(name: str, *, num_classes: int, input_channels: int, **options: Any) -> nn.Module:
    """Build a model by its registered name.

    Shapes: the model maps images (B, input_channels, H, W) to logits (B, num_classes).
    Raises: ValueError for an unknown model (naming the nearest), an unknown option (naming the
        nearest of this model, or the models it belongs to), a wrong type or an impossible value.
    """
    values = check_options(name, options)
    for option, value in zip(_SIZES, (num_classes, input_channels), strict=True):
        _checked(name, option, value)
    try:
        return _entry(name).build(num_classes=num_classes, input_channels=input_channels, **values)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def _entry(name: str) -> Entry:
    if name not in _MODELS:
        close = difflib.get_close_matches(str(name).lower(), _MODELS, n=3, cutoff=0.5)
        hint = f"; the nearest are {', '.join(close)}" if close else ""
        raise ValueError(f"unknown model {name!r}{hint}; list_models() names all {len(_MODELS)}")
    return _MODELS[name]


def _checked(model: str, option: Option, value: Any) -> Any:
    try:
        return option.check(value)
    except ValueError as error:
        raise ValueError(f"{model}: {error}") from None


def _unknown_option(entry: Entry, key: str) -> str:
    """Say whether key is another basis's option, another model's, or misspelt."""
    having = [other for other in _MODELS.values() if key in other.options]
    owners = {o.basis: None for o in having if o.basis and o.options[key].of_basis}
    if owners:
        kind = entry.basis or "no basis"
        own = [option.name for option in entry.options.values() if option.of_basis]
        has = f" has {', '.join(own)}" if own else " has no such options"
        return f"{key} is an option of {_join(owners)} models; {entry.name} ({kind}){has}"
    where = f" (it belongs to {', '.join(o.name for o in having[:3])})" if having else ""
    hint = nearest(key, entry.options)
    return f"{entry.name} has no option {key!r}{where}{hint}; options: {', '.join(entry.options)}"


def _join(words: Iterable[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last
