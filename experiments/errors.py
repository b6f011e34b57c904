"""Errors meant for the person at the terminal, and how to name the key they meant."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from conv_kan.ops.maths.checks import ALIKE, likeness


class UserError(Exception):
    """A mistake or a missing thing that the user can mend.

    The message says what was given, what the rule is and what to type instead. Scripts print it
    without a traceback and exit with code 2.
    """


class ConfigError(UserError):
    """A configuration value that cannot work: misspelt, of the wrong type or impossible."""


class DataError(UserError):
    """A dataset that is absent, incomplete or unreadable."""


class CheckpointError(UserError):
    """A checkpoint that is absent, truncated or belongs to another run."""


class TrainingError(UserError):
    """Training cannot go on: a loss that is not finite, a full disk."""


def nearest(word: str, choices: Iterable[str]) -> str:
    """Return "; did you mean 'x'?" for the choice spelt like word, or "" if none is."""
    match = near_keys(word, choices, 1)
    return f"; did you mean {match[0]!r}?" if match else ""


def near_keys(word: str, keys: Iterable[str], most: int) -> list[str]:
    """The keys that are likest to word, if they are like it at all: of equals up to `most`.

    Dotted keys are compared part by part: the parts that two keys share say nothing of the others.
    A name without its group, or with another group, counts if the last parts are alike.
    """
    scores = {key: _likeness(word.split("."), key.split(".")) for key in keys}
    best = max(scores.values(), default=0.0)
    return [key for key, score in scores.items() if score == best and best >= ALIKE][:most]


def _likeness(one: Sequence[str], other: Sequence[str]) -> float:
    last = likeness(one[-1], other[-1])
    if len(one) == len(other):
        whole = min(likeness(*pair) for pair in zip(one, other, strict=True))
        return max(whole, ALIKE if last == 1 and len(one) > 1 else 0)
    return last if len(one) == 1 else 0.0


def or_words(words: Iterable[str]) -> str:
    """Return "a, b or c"."""
    *most, last = words
    return f"{', '.join(most)} or {last}" if most else last
