"""Keys `model.weights` and `model.freeze`: what a network begins with, and what of it stays so.

They stand beside the options of the network, which are the registry's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from experiments.config.checks import require, require_choice

FREEZE = ("none", "bases", "body")


@dataclass
class BeginningConfig:
    """Trained weights to begin with, and what of the network is not trained."""

    weights: str | None = None  # a run, a file, a folder or repository of the hub, timm:NAME
    freeze: str = "none"  # none | bases (learned shapes of functions) | body (all but the head)

    def __post_init__(self) -> None:
        require(self.weights != "", "model.weights", self.weights, "names weights, or is null")
        require_choice("model.freeze", self.freeze, FREEZE)


BEGINNING = tuple(f.name for f in fields(BeginningConfig))


def without_beginning(model: Mapping[str, Any]) -> dict[str, Any]:
    """The values of group `model` that are the network's: its name and its own options."""
    return {key: value for key, value in model.items() if key not in BEGINNING}
