"""How a rule of the configuration is stated and broken."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from experiments.errors import ConfigError, nearest

BALANCED = "balanced"  # of loss.class_weights: each class counts as much as another


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


def require_class_weights(weights: str | Sequence[float] | None) -> None:
    """Raise ConfigError unless these may be loss.class_weights; how many there must be is known
    with the data."""
    rule = (
        f"must be {BALANCED} (by the training targets), one number of 0 or more per class, one of "
        "them larger, or null for equal weights"
    )
    known = weights is None or weights == BALANCED
    if not (weights is None or isinstance(weights, str)):
        known = all(w >= 0 for w in weights) and any(w > 0 for w in weights)
    require(known, "loss.class_weights", weights, rule)
