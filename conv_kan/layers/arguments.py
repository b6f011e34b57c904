"""Constructors that name what was meant where they are given an argument that they do not have."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch import nn

from conv_kan.bases.rows import ROWS
from conv_kan.ops.maths.checks import near_names

# What torch.nn and other programs call an argument, and what it may be called here.
_ELSEWHERE: dict[str, tuple[str, ...]] = {
    "in_channels": ("c_in", "in_features", "channels"),
    "out_channels": ("c_out", "out_features"),
    "in_features": ("c_in",),
    "out_features": ("c_out",),
    "bias": ("base_bias",),
    "act": ("activation",),
    "heads": (),
    "num_heads": (),
    "padding_mode": (),
}


class NamedArguments:
    """A base of layers: an unknown argument of the constructor is told with the one that was meant.

    Raises: TypeError -> for an option of a basis the call of create_basis to type, for a name that
    torch uses ours, else the nearest name and all there are.
    """

    def __new__(cls, *positional: Any, **arguments: Any) -> Any:
        names = _names(cls) if arguments else ()
        for given in arguments if names else ():
            if given not in names:
                raise TypeError(_unknown(cls.__name__, given, arguments, names))
        return super().__new__(cls)


def _names(cls: type) -> tuple[str, ...]:
    """The arguments of a constructor; none if it hands others on, to a constructor that checks."""
    parameters = inspect.signature(cls).parameters.values()
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters):
        return ()
    return tuple(p.name for p in parameters)


def _unknown(owner: str, given: str, arguments: Mapping[str, Any], names: tuple[str, ...]) -> str:
    basis = next(_bases_with(given, arguments.get("basis", "gram")), None)
    text = f"{owner} has no argument {given!r}"
    if "basis" in names and basis is not None:
        call = f"basis=create_basis({basis!r}, {given}={arguments[given]!r})"
        return f"{text}: it is an option of the basis; pass {call}."
    if given in _ELSEWHERE:
        meant = [name for name in _ELSEWHERE[given] if name in names][:1]
    else:
        meant = near_names(given, names)
    hint = f"; did you mean {meant[0]!r}?" if meant else "."
    return f"{text}{hint} Its arguments are {', '.join(names)}."


def _bases_with(option: str, basis: Any) -> Iterator[str]:
    """The bases that have an option, that of the layer first."""
    own = basis if isinstance(basis, str) else type(basis).__name__.lower()
    for name in sorted(ROWS, key=lambda name: name != own):
        if option in ROWS[name].options:
            yield name


def check_factory(label: str, factory: Callable[..., Any], example: str) -> None:
    """Raise TypeError unless factory is a function that makes layers, and no layer itself."""
    if isinstance(factory, nn.Module) or not callable(factory):
        raise TypeError(
            f"{label}={factory!r} is no function; pass one that makes a layer, {label}={example}."
        )
