"""Rational functions fitted to a function on an interval, their errors, and the file of them."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from conv_kan.bases.rational_fit import fit, random_starts
from conv_kan.bases.rational_init import Coefficients
from conv_kan.ops.rational import group_rational
from experiments.errors import UserError
from experiments.files import atomic_path
from experiments.studies.functions import Function

_STARTS = 32
_DIGITS = 8  # of a coefficient: what float32 can hold
_NOTHING = 1e-10  # of P or of Q, which a term must be to count


@dataclass(frozen=True)
class Fit:
    """A rational function and its errors, the largest and the root of the mean square."""

    orders: tuple[int, int]
    coefficients: Coefficients
    inside: tuple[float, float]
    outside: tuple[float, float]

    @property
    def name(self) -> str:
        return f"{self.orders[0]}/{self.orders[1]}"


@dataclass(frozen=True)
class Problem:
    """A function on an interval."""

    text: str
    function: Function
    low: float
    high: float
    num_points: int

    def points(self) -> Tensor:
        """Evenly spaced on the interval."""
        return torch.linspace(self.low, self.high, self.num_points, dtype=torch.float64)

    def outside(self) -> Tensor:
        """As far again on either side of it."""
        x, width = self.points(), self.high - self.low
        return torch.cat([x[:-1] - width, x[1:] + width])

    def values(self) -> Tensor:
        """At the points. Raises: UserError if one is not finite."""
        x = self.points()
        y = self.function(x)
        bad = ~y.isfinite()
        if bad.any():
            at, value = float(x[bad][0]), float(y[bad][0])
            raise UserError(
                f"{self.text} is {value} at x = {at:g}; choose an --interval where it is finite"
            )
        return y


def solve(problem: Problem, orders: tuple[int, int]) -> Fit:
    """The best of many starts; x is divided by its largest size, which keeps powers near 1."""
    x, y = problem.points(), problem.values()
    unit = float(x.abs().max())
    count, (m, n) = orders[0] + 1, orders
    a, b, _ = fit(x / unit, y, random_starts(_STARTS if n else 1, n), count=count)
    coefficients = _row(a, unit, 0, float(a.abs().max())), _row(b, unit, 1, 1.0)
    errors = [
        _errors(evaluate(coefficients, at) - problem.function(at)) for at in (x, problem.outside())
    ]
    return Fit((m, n), coefficients, errors[0], errors[1])


def _row(c: Tensor, unit: float, first: int, scale: float) -> tuple[float, ...]:
    """The coefficients of x, from the power `first` on, of those of x / unit."""
    c = torch.where(c.abs() > _NOTHING * scale, c, 0.0)
    powers = torch.arange(first, first + len(c), dtype=torch.float64)
    return tuple(float(f"{number:.{_DIGITS}g}") for number in (c * unit**-powers).tolist())


def evaluate(coefficients: Coefficients, x: Tensor) -> Tensor:
    """F(x), as GroupRational computes it."""
    a, b = (torch.tensor(row, dtype=x.dtype) for row in coefficients)
    return group_rational(x.unsqueeze(1), a, b.unsqueeze(0), True).squeeze(1)


def _errors(difference: Tensor) -> tuple[float, float]:
    """Where the function is finite, which it may be nowhere outside of the interval."""
    difference = difference[difference.isfinite()]
    if not len(difference):
        return math.nan, math.nan
    return float(difference.abs().max()), float(difference.square().mean().sqrt())


def write(problem: Problem, fits: Sequence[Fit], path: Path) -> None:
    """A row for every fit; coefficients with spaces between them."""
    columns = ("function", "low", "high", "points", "M", "N", "max_inside", "rms_inside",
               "max_outside", "rms_outside", "a", "b")  # fmt: skip
    with atomic_path(path) as partial, open(partial, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        for one in fits:
            errors = (f"{error:.6g}" for error in (*one.inside, *one.outside))
            rows = (" ".join(map(repr, row)) for row in one.coefficients)
            place = (problem.text, problem.low, problem.high, problem.num_points)
            writer.writerow((*place, *one.orders, *errors, *rows))
