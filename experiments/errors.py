"""Errors meant for the person at the terminal, and how to name the key they meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


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
    """Return "; did you mean 'x'?" for the choice closest to word, or "" if none is close."""
    match = difflib.get_close_matches(word, list(choices), n=1, cutoff=0.5)
    return f"; did you mean {match[0]!r}?" if match else ""
