"""Options of models: what each is called, its type, default and limits, and how a value is checked.

A model's options are a table of `Option` rows. The registry and the configuration layer read the
same table, so a wrong value is refused with the same words before any weight exists.
"""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from conv_kan.ops.maths.checks import near_names


@dataclass(frozen=True)
class Option:
    """One option of a model.

    `type` is bool, int, float, str, a tuple of those (`tuple[int, ...]`, `tuple[int, int]`) or one
    of these `| None`. `minimum`, `below` (exclusive) and `choices` hold for every element of a
    tuple. `of_basis` marks the options that only models of some bases have, and `is_width` the one
    that scales the channels of the whole network.
    """

    name: str
    type: Any
    default: Any
    help: str
    minimum: float | None = None
    below: float | None = None
    choices: tuple[Any, ...] | None = None
    of_basis: bool = False
    is_width: bool = False

    def check(self, value: Any) -> Any:
        """Return value as this option's type.

        An int serves as a float and a list as a tuple; a bool never serves as a number.

        Raises: ValueError for a value of another type or outside the limits.
        """
        try:
            checked = _convert(self.type, value)
        except _UnfitError as error:
            rule = describe_type(self.type)
            raise ValueError(f"{self.name}={value!r} must be {rule}, {error}") from None
        for element in checked if isinstance(checked, tuple) else (checked,):
            if element is not None:
                self._check_limits(value, element)
        return checked

    def _check_limits(self, value: Any, element: Any) -> None:
        given = f"{self.name}={value!r}"
        if self.choices is not None and element not in self.choices:
            raise ValueError(f"{given} is not known; {advise(element, self.choices)}")
        if self.minimum is not None and element < self.minimum:
            raise ValueError(f"{given} must be {self.minimum} or more")
        if self.below is not None and element >= self.below:
            raise ValueError(f"{given} must be less than {self.below}")


def advise(word: Any, choices: Iterable[Any]) -> str:
    """Return "did you mean 'x'? Others are y, z" if x is spelt like word, else "use x, y, z"."""
    names = [str(choice) for choice in choices]
    close = nearest_names(word, names, 1)
    if not close:
        return f"use {', '.join(names)}"
    others = ", ".join(name for name in names if name not in close)
    return f"did you mean {close[0]!r}?" + (f" Others are {others}" if others else "")


def nearest_names(word: Any, choices: Iterable[str], count: int) -> list[str]:
    """Return up to count choices spelt like word, in capital letters or not, the nearest first."""
    return near_names(word, choices, count)


def describe_type(kind: Any) -> str:
    """Name a type in words: `tuple[int, int]` is "a list of 2 integers", `list[int]` of any."""
    if kind in _NAMES:
        return _NAMES[kind][0]
    arguments = typing.get_args(kind)
    if isinstance(kind, types.UnionType):
        return " or ".join(
            "null" if argument is type(None) else describe_type(argument) for argument in arguments
        )
    any_number = arguments[-1] is Ellipsis or typing.get_origin(kind) is list
    length = "" if any_number else f"{len(arguments)} "
    return f"a list of {length}{_NAMES[arguments[0]][1]}"


def describe(value: Any) -> str:
    """Say what kind of thing a value is that has another type than it should."""
    if value == "":
        return "nothing"
    kinds = {
        type(None): "null",
        bool: "true or false",
        int: "an integer",
        float: "a decimal number",
        str: "text",
        list: "a list",
        tuple: "a list",
        dict: "a group of keys",
    }
    return kinds.get(type(value), type(value).__name__)


# One and many.
_NAMES = {
    bool: ("true or false", "true or false"),
    int: ("an integer", "integers"),
    float: ("a number", "numbers"),
    str: ("a string", "strings"),
    dict: ("a table {NAME: VALUE}", "tables"),
}


class _UnfitError(Exception):
    """A value of another type; says in what it differs."""


def _convert(kind: Any, value: Any) -> Any:
    if isinstance(kind, types.UnionType):
        if value is None:
            return None
        (kind,) = (k for k in typing.get_args(kind) if k is not type(None))
    if typing.get_origin(kind) is tuple:
        return _convert_tuple(typing.get_args(kind), value)
    if kind is float and type(value) is int:
        return float(value)
    # bool is a subclass of int: only the exact type counts.
    if type(value) is not kind:
        raise _UnfitError(f"not {describe(value)}")
    if kind is float and not math.isfinite(value):
        raise _UnfitError("and a finite one")
    return value


def _convert_tuple(kinds: tuple[Any, ...], value: Any) -> tuple[Any, ...]:
    # Sequences of configuration libraries are no list or tuple, but iterate like one.
    if isinstance(value, (str, bytes, dict)) or not hasattr(value, "__len__"):
        raise _UnfitError(f"not {describe(value)}")
    elements = tuple(value)
    if kinds[-1] is Ellipsis:
        kinds = (kinds[0],) * len(elements)
    if len(kinds) != len(elements) or not elements:
        raise _UnfitError(f"not of {len(elements) or 'none'}")
    checked = []
    for place, (kind, element) in enumerate(zip(kinds, elements, strict=True), 1):
        try:
            checked.append(_convert(kind, element))
        except _UnfitError:
            raise _UnfitError(f"but element {place} is {element!r}") from None
    return tuple(checked)
