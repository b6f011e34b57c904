"""Activations as modules: a name or a function, and a slope where the activation learns one."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from conv_kan.ops.maths.activations import (
    ACTIVATIONS,
    ActivationLike,
    activation_function,
    check_activation,
    prelu,
)
from conv_kan.ops.maths.checks import check_choice

_INITIAL_SLOPE = 0.25


class Activation(nn.Module):
    """a = act(z), elementwise; "prelu" learns one slope per group of neighbouring channels.

    `name` is None for a function of one's own.
    Shapes: z, a (B, C, *S); weight (groups,), only for "prelu".
    Raises: ValueError for an unknown name -> the nearest one; what check_activation raises.
    """

    def __init__(self, activation: ActivationLike, groups: int = 1) -> None:
        super().__init__()
        if isinstance(activation, str):
            self.form: ActivationLike = check_choice(
                "activation", activation, [*ACTIVATIONS, "prelu"]
            )
        else:
            self.form = check_activation("activation", activation)
        if self.form == "prelu":
            self.weight = nn.Parameter(torch.full((groups,), _INITIAL_SLOPE))

    @property
    def name(self) -> str | None:
        """By which compiled kernels know it."""
        return self.form if isinstance(self.form, str) else None

    @property
    def params(self) -> tuple[Tensor, ...]:
        """What `function` takes after z."""
        return tuple(self.parameters())

    def function(self, z: Tensor, *params: Tensor) -> Tensor:
        """act(z) for given parameters."""
        return prelu(z, *params) if self.name == "prelu" else activation_function(self.form)(z)

    def reset_parameters(self) -> None:
        if self.name == "prelu":
            nn.init.constant_(self.weight, _INITIAL_SLOPE)

    def forward(self, z: Tensor) -> Tensor:
        return self.function(z, *self.params)

    def extra_repr(self) -> str:
        return "" if isinstance(self.form, nn.Module) else str(self.form)
