"""Activations as modules: a name, and a slope where the activation learns one."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from conv_kan.ops.maths.activations import ACTIVATIONS, prelu
from conv_kan.ops.maths.checks import check_choice

_INITIAL_SLOPE = 0.25


class Activation(nn.Module):
    """a = act(z), elementwise; "prelu" learns one slope per group of neighbouring channels.

    Shapes: z, a (B, C, *S); weight (groups,), only for "prelu".
    Raises: ValueError for an unknown name -> the nearest one.
    """

    def __init__(self, name: str, groups: int = 1) -> None:
        super().__init__()
        self.name = check_choice("activation", name, [*ACTIVATIONS, "prelu"])
        if name == "prelu":
            self.weight = nn.Parameter(torch.full((groups,), _INITIAL_SLOPE))

    @property
    def params(self) -> tuple[Tensor, ...]:
        """What `function` takes after z."""
        return tuple(self.parameters())

    def function(self, z: Tensor, *params: Tensor) -> Tensor:
        """act(z) for given parameters."""
        return prelu(z, *params) if self.name == "prelu" else ACTIVATIONS[self.name](z)

    def reset_parameters(self) -> None:
        if self.name == "prelu":
            nn.init.constant_(self.weight, _INITIAL_SLOPE)

    def forward(self, z: Tensor) -> Tensor:
        return self.function(z, *self.params)

    def extra_repr(self) -> str:
        return self.name
