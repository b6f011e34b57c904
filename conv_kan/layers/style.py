"""What surrounds the branches of a layer: base function, norm, activation, dropout, backend."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from conv_kan.layers.noise import DROPOUT_KINDS
from conv_kan.layers.norm import NormLike
from conv_kan.names import BACKENDS
from conv_kan.ops.maths.activations import ActivationLike, check_activation
from conv_kan.ops.maths.checks import check_choice, check_probability

NORM_POSITIONS = ("output", "input")


@dataclass(frozen=True)
class Style:
    """The arguments that all layers with a base branch share; KANConv says what each means.

    Public constructors list those they take, with their defaults, and hand them on as one. Which
    positions of the dropout there are, the layer knows.
    Raises: ValueError for an unknown name and for a dropout outside [0, 1); what check_activation
    raises.
    """

    base: ActivationLike | None
    norm: NormLike
    affine: bool
    activation: ActivationLike | None
    dropout: float
    dropout_kind: str
    backend: str
    dropout_position: str
    norm_position: str = "output"

    def __post_init__(self) -> None:
        if self.base is not None:
            object.__setattr__(self, "base", check_activation("base", self.base))
        check_choice("norm_position", self.norm_position, NORM_POSITIONS)
        check_probability("dropout", self.dropout)
        check_choice("dropout_kind", self.dropout_kind, DROPOUT_KINDS)
        check_choice("backend", self.backend, BACKENDS)

    @classmethod
    def of(cls, arguments: Mapping[str, Any], **fixed: Any) -> Style:
        """The fields among `arguments`, which are the locals() of a constructor, and `fixed`."""
        names = {field.name for field in fields(cls)}
        return cls(**{k: v for k, v in arguments.items() if k in names}, **fixed)
