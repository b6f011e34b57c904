"""Errors meant for the person at the terminal, and how to name the key they meant.

The second half is the one place that knows how systems and torch say that something has run out.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

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
    """Training cannot go on: a loss that is not finite, a checkpoint that cannot be written."""


class ResourceError(UserError):
    """The machine has run out of memory, disk, files or processes; see shortage."""


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


def reason(error: BaseException) -> str:
    """What an error says, without the name of a file, which the message has already."""
    system = isinstance(error, OSError) and error.strerror
    return str(system or error or type(error).__name__)


def in_one_line(error: Exception) -> str:
    """An error of a library, which ends nothing: its kind and its words."""
    return " ".join([f"{type(error).__name__}:", *str(error).split()])


# ----------------------------------------------------------------------------------- what runs out
@dataclass(frozen=True)
class Shortage:
    """A thing that ends: its error numbers, what libraries say of it, and the way on."""

    what: str
    numbers: tuple[int, ...]
    said: str  # a pattern, in any case
    way: str


SHORTAGES = (
    Shortage(
        "the disk is full",
        (errno.ENOSPC, errno.EDQUOT),
        r"no space left|disk quota exceeded|os error (28|122)\b",
        "Free space, or keep fewer checkpoints (trainer.keep_last=1).",
    ),
    Shortage(
        "too many files are open",
        (errno.EMFILE, errno.ENFILE),
        r"too many open files|os error (24|23)\b",
        "Raise the limit of this shell (ulimit -n 4096), or use fewer data.workers.",
    ),
    Shortage(
        "a file has become larger than this shell allows",
        (errno.EFBIG,),
        r"file too large|os error 27\b",
        "Raise the limit (ulimit -f unlimited).",
    ),
    Shortage(
        "memory has run out",
        (errno.ENOMEM,),
        r"allocate memory|not enough memory|out of memory|bad_alloc|os error 12\b",
        "Use a smaller trainer.batch_size, or the same one in parts (trainer.accumulation=2, 4, "
        "...); a smaller trainer.evaluation_batch_size, data.image_size or model; fewer "
        "data.workers.",
    ),
    Shortage(
        "no more processes or threads can be started",
        (errno.EAGAIN,),
        r"can't start new thread|resource temporarily unavailable",
        "Raise the limit of this shell (ulimit -u), or use fewer data.workers.",
    ),
    Shortage(
        "a disk cannot be read or written",
        (errno.EIO, errno.EROFS, errno.ESTALE),
        r"input/output error|read-only file system|stale file handle|os error (5|30|116)\b",
        "Look at the disk and how it is mounted.",
    ),
)


def shortage(error: BaseException | object) -> ResourceError | None:
    """The error in words if the machine has run out of something; None for any other error."""
    found = _kind(error)
    if found is None:
        return None
    said = next(iter(str(error).splitlines()), "")
    detail = f": {said[:200]}" if said else ""
    return ResourceError(f"{found.what}{detail}\n{found.way}")


@contextmanager
def in_words() -> Iterator[None]:
    """Raise ResourceError in place of errors that say in their own way what has run out."""
    try:
        yield
    except Exception as error:
        found = shortage(error)
        if found is None:
            raise
        raise found from error


def _kind(error: object) -> Shortage | None:
    if isinstance(error, MemoryError):
        return next(kind for kind in SHORTAGES if errno.ENOMEM in kind.numbers)
    if isinstance(error, OSError) and error.errno is not None:
        return next((kind for kind in SHORTAGES if error.errno in kind.numbers), None)
    if isinstance(error, (RuntimeError, OSError)):  # torch's, and those of compiled libraries
        text = str(error)
        return next((kind for kind in SHORTAGES if re.search(kind.said, text, re.I)), None)
    return None
