"""Fit rational functions without poles, of any orders, to a function; print, write and draw them.

    F(x) = sum_{m=0..M} a_m x^m / (1 + sum_{m=1..N} b_m |x|^m),  b_m >= 0

    python -m experiments.studies.fit_rational gelu
    python -m experiments.studies.fit_rational "x * sigmoid(1.702 * x)" --orders 3/2 5/4 7/6
    python -m experiments.studies.fit_rational sin --interval -6 6 --output runs/sin

GroupRational(num_groups, init) takes a row that is printed. The squares of the errors are summed at
points that are evenly spaced on the interval; "outside" is as far again on either side of it.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from experiments.app import exit_with_message
from experiments.errors import UserError, reason
from experiments.studies.fit_picture import draw
from experiments.studies.functions import parse_function
from experiments.studies.rational_fits import Fit, Problem, solve, write

ORDERS = ("2/2", "3/2", "4/4", "5/4", "7/6")
OUTPUT = Path("runs") / "fit_rational"
_MOST_ORDER, _MOST_POINTS, _LARGEST, _SMALLEST = 12, 100_000, 1e6, 1e-3


def table(problem: Problem, fits: Sequence[Fit]) -> Table:
    """The errors of all orders."""
    title = f"errors of F = P / Q against {problem.text} on [{problem.low:g}, {problem.high:g}]"
    found = Table(title=title)
    for column in ("M/N", "largest inside", "rms inside", "largest outside", "rms outside"):
        found.add_column(column, justify="right")
    for one in fits:
        found.add_row(one.name, *(f"{error:.2e}" for error in (*one.inside, *one.outside)))
    return found


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m experiments.studies.fit_rational", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("function", help="a name (gelu, silu, relu, tanh, sin, ...) or an expression of x")
    text = f"of P and Q, each at most {_MOST_ORDER}; default: {' '.join(ORDERS)}"
    add("--orders", nargs="+", default=list(ORDERS), metavar="M/N", help=text)
    text = "default: -3 3"
    add("--interval", nargs=2, type=float, default=[-3.0, 3.0], metavar=("LOW", "HIGH"), help=text)
    add("--points", type=int, default=1000, metavar="N", help="default: 1000")
    add("--output", type=Path, default=OUTPUT, metavar="DIR", help=f"default: {OUTPUT}")
    return parser.parse_args(arguments)


def parse_orders(text: str) -> tuple[int, int]:
    """(M, N) of "M/N". Raises: UserError."""
    match = re.fullmatch(r"(\d{1,3})/(\d{1,3})", text)
    orders = (int(match[1]), int(match[2])) if match else (_MOST_ORDER + 1, 0)
    if max(orders) > _MOST_ORDER:
        raise UserError(
            f"--orders {text}: these are the orders of P and Q, each from 0 to {_MOST_ORDER}; "
            "type for example --orders 5/4"
        )
    return orders


def problem_of(chosen: argparse.Namespace) -> Problem:
    """What is to be fitted. Raises: UserError for an interval or points that make no sense."""
    low, high = chosen.interval
    if not (high - low >= _SMALLEST and max(-low, high) <= _LARGEST):
        raise UserError(
            f"--interval {low:g} {high:g}: these are two increasing numbers of size up to "
            f"{_LARGEST:g}, {_SMALLEST:g} apart or more; type for example --interval -3 3"
        )
    if not 10 <= chosen.points <= _MOST_POINTS:
        raise UserError(f"--points {chosen.points} must be a number from 10 to {_MOST_POINTS}")
    return Problem(chosen.function, parse_function(chosen.function), low, high, chosen.points)


def main(arguments: Sequence[str]) -> int:
    """Fit, print, write and draw. Returns the exit code."""
    chosen, console = parse(arguments), Console()
    problem = problem_of(chosen)
    problem.values()
    fits: list[Fit] = []
    for pair in [parse_orders(text) for text in dict.fromkeys(chosen.orders)]:
        fits.append(solve(problem, pair))
        a, b = fits[-1].coefficients
        console.print(f"{fits[-1].name}: init=({a}, {b})", soft_wrap=True, highlight=False)
    console.print(table(problem, fits))
    name = re.sub(r"\W+", "_", chosen.function).strip("_")[:60]
    stem = chosen.output / (name or "function")
    try:
        chosen.output.mkdir(parents=True, exist_ok=True)
        write(problem, fits, stem.with_suffix(".csv"))
        draw(problem, fits, stem.with_suffix(".png"))
    except OSError as error:
        raise UserError(f"--output {chosen.output}: {reason(error)}") from error
    for suffix in (".csv", ".png"):
        console.print(f"wrote {stem.with_suffix(suffix)}", soft_wrap=True, highlight=False)
    return 0


if __name__ == "__main__":
    with exit_with_message("stopped; nothing was written"):
        raise SystemExit(main(sys.argv[1:]))
