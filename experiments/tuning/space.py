"""A search space: keys and groups with their distributions, some of them under a condition."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from experiments.errors import ConfigError, nearest
from experiments.tuning.distributions import (
    Condition,
    Distribution,
    Suggests,
    parse_distribution,
)

Values = dict[str, str]  # {key: the text behind KEY=}


@dataclass(frozen=True)
class Parameter:
    """One key of a space."""

    key: str
    text: str  # as it was written
    distribution: Distribution
    condition: Condition | None


@dataclass(frozen=True)
class Space:
    """Parameters in an order in which each comes after the one that its condition asks for."""

    parameters: tuple[Parameter, ...]

    def __getitem__(self, key: str) -> Parameter:
        return next(p for p in self.parameters if p.key == key)

    @property
    def keys(self) -> list[str]:
        return [parameter.key for parameter in self.parameters]

    def texts(self) -> Values:
        """{key: its line of the space}: what tells two spaces apart."""
        return {p.key: p.text for p in sorted(self.parameters, key=lambda p: p.key)}

    def draw(self, trial: Suggests) -> Values:
        """Values of every key whose condition holds."""
        values: Values = {}
        for parameter in self.parameters:
            if holds(parameter.condition, values):
                values[parameter.key] = parameter.distribution.draw(trial, parameter.key)
        return values

    def needed_for(self, key: str) -> Values:
        """The values of other keys under which this one is drawn, the first that there are."""
        condition = self[key].condition
        if condition is None:
            return {}
        return {**self.needed_for(condition.key), condition.key: condition.values[0]}

    def grid(self) -> list[Values]:
        """Every combination, each once.

        Raises: ConfigError for a key that has infinitely many values.
        """
        columns = []
        for p in self.parameters:
            points = p.distribution.points()
            if not points:
                raise ConfigError(
                    f"tune.space.{p.key}={p.text}: a grid needs points; type choice(...), "
                    "quniform(LOW, HIGH, STEP) or randint(LOW, HIGH), or another tune.search"
                )
            columns.append(points)
        found: dict[tuple[tuple[str, str], ...], Values] = {}
        for row in itertools.product(*columns):
            drawn: Values = {}
            for p, value in zip(self.parameters, row, strict=True):
                if holds(p.condition, drawn):
                    drawn[p.key] = value
            found.setdefault(tuple(drawn.items()), drawn)
        return list(found.values())


def holds(condition: Condition | None, values: Mapping[str, str]) -> bool:
    """Whether a condition is met by the values that are drawn already."""
    return condition is None or values.get(condition.key) in condition.values


def read_space(texts: Mapping[str, Any]) -> Space:
    """The space of {key: text}; a key whose text is None is left out.

    Raises: ConfigError for what no distribution is, and for conditions that can never hold.
    """
    found = {}
    for key, text in texts.items():
        if text is not None:
            distribution, condition = parse_distribution(key, str(text))
            found[key] = Parameter(key, str(text), distribution, condition)
    for parameter in found.values():
        _check_condition(parameter, found)
    return Space(tuple(_in_order(found)))


def _check_condition(parameter: Parameter, found: Mapping[str, Parameter]) -> None:
    condition = parameter.condition
    if condition is None:
        return
    said = f"tune.space.{parameter.key}={parameter.text}"
    other = found.get(condition.key)
    if other is None:
        way = nearest(condition.key, found) or "; search it with choice(...) or leave the rest out"
        raise ConfigError(f"{said}: {condition.key} is not a key of this space{way}")
    options = other.distribution.points()
    for value in condition.values:
        if value not in options:
            raise ConfigError(
                f"{said}: {condition.key} never is {value}{nearest(value, options)}\n"
                f"Its line is {other.key}={other.text}"
            )


def _in_order(found: Mapping[str, Parameter]) -> Iterator[Parameter]:
    """The parameters, each after the one that it depends on."""
    waiting, done = list(found.values()), set[str]()
    while waiting:
        ready = [p for p in waiting if p.condition is None or p.condition.key in done]
        if not ready:
            names = ", ".join(p.key for p in waiting)
            raise ConfigError(f"tune.space: the conditions of {names} depend on each other")
        yield from ready
        done |= {p.key for p in ready}
        waiting = [p for p in waiting if p not in ready]


class Dice:
    """Draws evenly, with no memory; see Suggests."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def suggest_categorical(self, name: str, choices: Sequence[str]) -> Any:
        return self.random.choice(choices)

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        if step is not None:
            return low + step * self.random.randint(0, round((high - low) / step))
        if log:
            value = math.exp(self.random.uniform(math.log(low), math.log(high)))
            return min(max(value, low), high)
        return self.random.uniform(low, high)

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1) -> int:
        return self.random.randrange(low, high + 1, step)
