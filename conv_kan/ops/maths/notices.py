"""What the library says on its own account: on the logger "conv_kan", each line once."""

from __future__ import annotations

import functools
import logging

_logger = logging.getLogger("conv_kan")


@functools.cache
def say_once(message: str) -> None:
    """Log a warning, unless this process has logged the same before."""
    _logger.warning(message)
