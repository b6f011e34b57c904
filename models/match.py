"""Twins of equal size: the width at which a network is as large as another one."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from models.complexity import count_macs, count_parameters
from models.options import Option
from models.registry import (
    MATCH,
    build_model,
    check_options,
    model_options,
    parse_reference,
)

TOLERANCE = 0.02  # of the reference's size
_WIDEST = 64.0  # times the width that the options say
_STEPS = 40  # of the search; each builds the network once, without memory
_ROUNDS = 10  # in which single layers change by a step


@dataclass(frozen=True)
class Match:
    """A network made as large as a reference: its options, and both sizes in parameters or macs."""

    options: Mapping[str, Any]
    reference: str
    by: str
    size: int
    reference_size: int


def match(
    model: str,
    reference: str,
    *,
    by: str = "parameters",
    num_classes: int = 10,
    input_shape: Sequence[int] = (3, 32, 32),
    **options: Any,
) -> Match:
    """Find the width at which `model` has the size of `reference`, to within 2 %.

    reference is a name, or "name option=value ..."; options are those of `model`, whose width (its
    layer_sizes or width_scale) is scaled as a whole. Multiply-accumulates (by="macs") are those of
    one input of input_shape, (C, *S). A network without a width must have the size as it is.

    Raises: ValueError for an unknown reference, and where no width comes within 2 %: the nearest is
        named.
    """
    values = check_options(model, options)
    width = _width_of(model, values)

    def size(name: str, given: Mapping[str, Any]) -> int:
        return _size(name, given, by, num_classes, input_shape)

    name, given = parse_reference(reference)
    target = size(name, given)
    plain = {key: value for key, value in values.items() if key not in MATCH}
    if width is None:
        best_size, found, what = size(model, plain), {}, f"{model} has not"
        near = f"it has no width that could be changed, and {best_size:,} as it is"
    else:
        best, best_size = _search(
            lambda tried: size(model, {**plain, width.name: tried}),
            values[width.name],
            int(values.get("groups") or 1),
            target,
        )
        found, what = {width.name: best}, f"no {width.name} of {model} has"
        near = f"the nearest is {best!r} with {best_size:,}"
    if abs(best_size / target - 1) > TOLERANCE:
        raise ValueError(
            f"{what} the {target:,} {by} of {reference} to within {TOLERANCE:.0%}; {near}"
        )
    return Match({**plain, **found}, reference, by, best_size, target)


def _width_of(model: str, values: Mapping[str, Any]) -> Option | None:
    """The option that scales a model; one that is null, a feed-forward's that has no hidden
    channels, scales nothing."""
    widths = (option for option in model_options(model).values() if option.is_width)
    return next((option for option in widths if values[option.name] is not None), None)


def _search(size: Callable[[Any], int], width: Any, multiple: int, target: int) -> tuple[Any, int]:
    """The width whose size is nearest to the target, and that size.

    Bisection of the factor; where whole channels leave a gap, single layers fill it.
    """
    low, high = 1 / _WIDEST, _WIDEST
    sizes: dict[Any, int] = {}
    for _ in range(_STEPS):
        middle = math.sqrt(low * high)
        tried = _scaled(width, middle, multiple)
        sizes[tried] = sizes[tried] if tried in sizes else size(tried)
        if sizes[tried] == target or high / low < 1 + 1e-6:
            break
        low, high = (middle, high) if sizes[tried] < target else (low, middle)
    best = min(sizes, key=lambda tried: abs(sizes[tried] - target))
    for _ in range(_ROUNDS if isinstance(width, tuple) else 0):
        if abs(sizes[best] / target - 1) <= TOLERANCE:
            break
        sizes |= {tried: size(tried) for tried in _neighbours(best, multiple) if tried not in sizes}
        nearest = min(sizes, key=lambda tried: abs(sizes[tried] - target))
        if nearest == best:
            break
        best = nearest
    return best, sizes[best]


def _neighbours(width: tuple[int, ...], multiple: int) -> list[tuple[int, ...]]:
    """One layer wider or narrower."""
    steps = [(i, d) for i in range(len(width)) for d in (-multiple, multiple) if width[i] + d > 0]
    return [(*width[:i], width[i] + d, *width[i + 1 :]) for i, d in steps]


def _scaled(width: Any, factor: float, multiple: int) -> Any:
    """The width times a factor: a number, or channels that stay divisible."""
    if isinstance(width, tuple):
        return tuple(max(1, round(w * factor / multiple)) * multiple for w in width)
    return width * factor


def _size(
    name: str, options: Mapping[str, Any], by: str, num_classes: int, shape: Sequence[int]
) -> int:
    with torch.device("meta"):
        model = build_model(name, num_classes=num_classes, input_channels=shape[0], options=options)
        if by == "parameters":
            return count_parameters(model)
        try:
            return count_macs(model, shape)
        except (NotImplementedError, RuntimeError) as error:  # of values that meta does not have
            raise ValueError(
                f"the multiply-accumulates of {name} depend on what it computes; match parameters"
            ) from error
