"""How a rule of the configuration is stated and broken."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from experiments.errors import ConfigError, nearest


def require(condition: bool, key: str, value: Any, rule: str) -> None:
    """Raise ConfigError naming the key, the value given and the rule, unless condition holds."""
    if not condition:
        raise ConfigError(f"{key}={value!r}: {rule}")


def require_choice(key: str, value: str, choices: Sequence[str]) -> None:
    """Raise ConfigError unless value is one of choices; the message names the nearest one."""
    if value not in choices:
        raise ConfigError(
            f"{key}={value!r} is not known{nearest(value, choices)}\nChoose one of: "
            + ", ".join(choices)
        )
