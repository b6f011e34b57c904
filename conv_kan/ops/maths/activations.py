"""Activations and squashing functions by name.

At infinities and NaN they are torch's. Where torch itself differs between its vector and its scalar
instructions, compiled kernels have gelu(inf) = inf, and NaN for the slope of ELU at NaN.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from conv_kan.ops.maths.checks import check_choice


def identity(x: Tensor) -> Tensor:
    """Return x."""
    return x


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": F.silu,
    "gelu": F.gelu,
    "relu": F.relu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "leaky_relu": F.leaky_relu,
    "elu": F.elu,
    "softplus": F.softplus,
    "identity": identity,
}

SQUASHES: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "none": identity,
}


def get_activation(label: str, name: str) -> Callable[[Tensor], Tensor]:
    """Return the activation called `name`; `label` names the argument in the error."""
    return ACTIVATIONS[check_choice(label, name, ACTIVATIONS)]


def prelu(z: Tensor, slope: Tensor) -> Tensor:
    """a = max(z, 0) + slope_g min(z, 0), one slope per group g of neighbouring channels.

    Shapes: z (B, C, *S), slope (G,) with G dividing C.
    """
    num_groups, channels = slope.numel(), z.shape[1]
    if num_groups > 1:
        slope = slope.unsqueeze(1).expand(num_groups, channels // num_groups).reshape(-1)
    return F.prelu(z, slope.to(z.dtype))
