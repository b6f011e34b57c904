"""Numbers kept where functions of them can be computed."""

from __future__ import annotations

import torch
from torch import Tensor

# Beyond it a function that vanishes is 0; it has a product with 0 in every dtype.
FAR = 1e30


def bounded(x: Tensor, limit: float = FAR) -> Tensor:
    """x, but +-limit beyond, where the gradient is 0. NaN has a gradient, unlike torch.clamp's."""
    return torch.where(x > limit, limit, torch.where(x < -limit, -limit, x))
