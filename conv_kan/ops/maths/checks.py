"""Argument checks whose messages say what was given, the rule, and what to type instead."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher

ALIKE = 0.7  # of 1, above which one word may be meant by another


def near_names(word: object, names: Iterable[str], count: int = 1) -> list[str]:
    """Up to `count` of the names that are spelt like word, in any case, the nearest first."""
    scores = {name: likeness(str(word), name) for name in names}
    near = [name for name in scores if scores[name] >= ALIKE]
    return sorted(near, key=lambda name: -scores[name])[:count]


def likeness(word: str, name: str) -> float:
    """How alike two spellings are, 0 to 1; one that begins or ends the other is ALIKE enough."""
    one, other = (text.lower().replace("-", "_") for text in (word, name))
    short, long = sorted((one, other), key=len)
    part = len(short) >= 3 and (long.startswith(short) or long.endswith(short))
    return max(SequenceMatcher(None, one, other).ratio(), ALIKE if part else 0.0)


def check_choice(label: str, value: object, choices: Iterable[str]) -> str:
    """Return `value` if it is one of `choices`, else raise ValueError naming the nearest one."""
    names = list(choices)
    if isinstance(value, str) and value in names:
        return value
    near = near_names(value, names)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    raise ValueError(f"{label}={value!r} is unknown{hint} Choose one of {', '.join(names)}.")


def check_int(label: str, value: object, minimum: int, example: int | None = None) -> int:
    """Return `value` if it is an integer >= minimum, else raise TypeError or ValueError."""
    example = minimum if example is None else example
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{label}={value!r} must be an integer; pass {_as_int(value, example)}.")
    if value < minimum:
        raise ValueError(f"{label}={value} must be at least {minimum}; pass {example} or more.")
    return value


def _as_int(value: object, example: int) -> str:
    """The integer that somebody means who gives 3.0, "3" or a NumPy 3; else an example."""
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, RuntimeError):
        number = 0.5
    is_one = number.is_integer() and not isinstance(value, bool)
    return str(int(number)) if is_one else f"for example {example}"


def check_ndim(ndim: object, rest: str = "") -> None:
    """Raise ValueError unless there are 1, 2 or 3 spatial dimensions; rest ends the message."""
    if isinstance(ndim, bool) or not isinstance(ndim, int) or ndim not in (1, 2, 3):
        raise ValueError(f"ndim={ndim!r} must be 1, 2 or 3{rest}.")


def check_range(label: str, value: Sequence[float]) -> tuple[float, float]:
    """Return (low, high) if low < high, else raise ValueError."""
    bounds = tuple(float(v) for v in value)
    if len(bounds) != 2 or not bounds[0] < bounds[1]:
        raise ValueError(
            f"{label}={tuple(value)!r} must be two increasing numbers; pass for example (-1, 1)."
        )
    return bounds[0], bounds[1]


def check_ints(label: str, value: int | Sequence[int], ndim: int, minimum: int) -> tuple[int, ...]:
    """Return one integer per spatial dimension from an integer or a sequence of them."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        if len(value) != ndim:
            raise ValueError(
                f"{label}={value!r} has {len(value)} entries but ndim={ndim}; "
                f"pass one integer or {ndim} of them."
            )
        return tuple(check_int(label, entry, minimum) for entry in value)
    return (check_int(label, value, minimum),) * ndim


def check_probability(label: str, value: float) -> float:
    """Return `value` if it lies in [0, 1), else raise TypeError or ValueError."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{label}={value!r} must be a number in [0, 1); pass for example 0.1.")
    if not 0.0 <= value < 1.0:
        raise ValueError(f"{label}={value!r} must lie in [0, 1); pass for example 0.1.")
    return float(value)
