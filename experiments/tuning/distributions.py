"""Distributions of a search space as text: loguniform(1e-4, 1e-1), choice(2, 3) if loss=focal."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from experiments.errors import ConfigError, nearest

WHOLE = re.compile(r"[-+]?\d+")
FORMS = {
    "choice": "choice(A, B, ...)",
    "uniform": "uniform(LOW, HIGH)",
    "loguniform": "loguniform(LOW, HIGH)",
    "quniform": "quniform(LOW, HIGH, STEP)",
    "randint": "randint(LOW, HIGH)",
}


class Suggests(Protocol):
    """What draws values: an Optuna trial, or dice."""

    def suggest_categorical(self, name: str, choices: Sequence[str]) -> Any: ...

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float: ...

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1) -> int: ...


@dataclass(frozen=True)
class Distribution:
    """Values of one key; what is drawn is the text that stands behind `KEY=` in an override.

    options: those of a choice. Else numbers from low to high, both included, in steps if there is
    one, evenly in their logarithm if log is true.
    """

    options: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 0.0
    step: float | None = None
    log: bool = False
    whole: bool = False

    def draw(self, trial: Suggests, key: str) -> str:
        if self.options:
            return str(trial.suggest_categorical(key, self.options))
        if self.whole:
            low, high, step = int(self.low), int(self.high), int(self.step or 1)
            return str(trial.suggest_int(key, low, high, step=step))
        value = trial.suggest_float(key, self.low, self.high, step=self.step, log=self.log)
        return self.text(value)

    def text(self, value: float) -> str:
        """A number as an override has it; the same number when it is read."""
        if self.whole:
            return str(round(value))
        return repr(float(f"{value:.12g}") if self.step else float(value))

    def corners(self) -> list[str]:
        """Every option, or both ends."""
        return list(self.options) or [self.text(self.low), self.text(self.high)]

    def points(self) -> list[str]:
        """All values there are; none for one that has no steps."""
        if self.options or self.step is None:
            return list(self.options)
        count = round((self.high - self.low) / self.step)
        return [self.text(self.low + i * self.step) for i in range(count + 1)]

    def nearest(self, value: float) -> str:
        """The number within the bounds, on a step, that is nearest to value."""
        inside = min(max(value, self.low), self.high)
        if self.step is not None:
            inside = self.low + round((inside - self.low) / self.step) * self.step
        return self.text(inside)

    def value(self, text: str) -> Any:
        """What a sampler knows a drawn text by."""
        return text if self.options else int(text) if self.whole else float(text)


@dataclass(frozen=True)
class Condition:
    """A key is drawn only where another one has one of these values."""

    key: str
    values: tuple[str, ...]


def parse_distribution(key: str, text: str) -> tuple[Distribution, Condition | None]:
    """Read `NAME(ARGUMENTS) [if KEY=VALUE[|VALUE ...]]`.

    Raises: ConfigError -> key, text, and the form that was meant.
    """

    def refuse(rule: str) -> ConfigError:
        return ConfigError(f"tune.space.{key}={text}: {rule}")

    match = re.fullmatch(r"\s*(\w+)\s*\((.*)\)\s*(?:\bif\s+(.*))?", text, re.DOTALL)
    if match is None:
        forms = ", ".join(FORMS.values())
        raise refuse(f"must be one of {forms}, each with or without: if KEY=VALUE")
    name, inside, condition = match.groups()
    if name not in FORMS:
        known = ", ".join(FORMS.values())
        raise refuse(f"no distribution is called {name}{nearest(name, FORMS)}\nThere are {known}")
    arguments = split_arguments(inside)
    found = _choice(arguments, refuse) if name == "choice" else _numbers(name, arguments, refuse)
    return found, None if condition is None else _condition(condition, refuse)


def split_arguments(text: str) -> list[str]:
    """The parts between commas that stand in no bracket and no quotes."""
    parts, depth, quote = [""], 0, ""
    for sign in text:
        if quote:
            quote = "" if sign == quote else quote
        elif sign in "'\"":
            quote = sign
        elif sign in "([{":
            depth += 1
        elif sign in ")]}":
            depth -= 1
        if sign == "," and depth == 0 and not quote:
            parts.append("")
        else:
            parts[-1] += sign
    return [part.strip() for part in parts if part.strip()]


Refuse = Callable[[str], ConfigError]


def _choice(arguments: list[str], refuse: Refuse) -> Distribution:
    if not arguments:
        raise refuse("a choice needs values, for example choice(2, 3, 4)")
    twice = next((a for a in arguments if arguments.count(a) > 1), None)
    if twice is not None:
        raise refuse(f"{twice} stands in it twice; leave one out")
    return Distribution(options=tuple(arguments))


def _numbers(name: str, arguments: list[str], refuse: Refuse) -> Distribution:
    form = FORMS[name]
    if len(arguments) != form.count(",") + 1:
        raise refuse(f"has {len(arguments)} values; it is {form}")
    values = []
    for argument in arguments:
        try:
            values.append(float(argument))
        except ValueError:
            raise refuse(f"{argument} is no number; it is {form}") from None
        if not math.isfinite(values[-1]):
            raise refuse(f"{argument} must be finite")
    low, high, *rest = values
    if low >= high:
        raise refuse(f"LOW={arguments[0]} must be less than HIGH={arguments[1]}; it is {form}")
    if name == "loguniform" and low <= 0:
        raise refuse(f"LOW={arguments[0]} must be positive: there is no logarithm of it")
    whole = all(WHOLE.fullmatch(argument) for argument in arguments)
    if name == "randint" and not whole:
        raise refuse("its ends must be integers; quniform(LOW, HIGH, STEP) has others")
    found = Distribution(low=low, high=high, log=name == "loguniform")
    if name == "randint":
        return replace(found, step=1, whole=True)
    return _stepped(found, rest[0], whole, refuse) if rest else found


def _stepped(found: Distribution, step: float, whole: bool, refuse: Refuse) -> Distribution:
    if step <= 0:
        raise refuse(f"STEP={step:g} must be positive")
    count = (found.high - found.low) / step
    if abs(count - round(count)) > 1e-6:
        last = found.low + math.floor(count) * step
        raise refuse(f"steps of {step:g} from {found.low:g} do not meet HIGH; type HIGH={last:g}")
    return replace(found, step=step, whole=whole)


def _condition(text: str, refuse: Refuse) -> Condition:
    key, sign, values = (part.strip() for part in text.partition("="))
    options = tuple(value.strip() for value in values.split("|") if value.strip())
    if not (key and sign and options):
        raise refuse("a condition is: if KEY=VALUE, or if KEY=VALUE|VALUE")
    return Condition(key, options)
