"""One line for the person at the terminal about data that can be used, but may not be meant so."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence

logger = logging.getLogger("experiments")
SHOWN = 8  # names in a line
MANY = 10_000  # images, whose reading one does not wait for without a word


def say(line: str) -> None:
    """Log a warning, on the first process alone; without handlers Python writes it to stderr."""
    if os.environ.get("RANK", "0") == "0":
        logger.warning(line)


def join_names(names: Sequence[str]) -> str:
    """Return "a, b, c", of many the first ones and how many there are."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
