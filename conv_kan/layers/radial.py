"""Gaussian functions of every number, beside the input's own dimensions."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from conv_kan.bases import RBF


class RadialFunctions(nn.Module):
    """phi_j(x) = exp(-((x - c_j) / d)^2), c_j evenly from low to high; d is their distance if None.

    Shapes: x (*S) -> (*S, num_functions).
    Numerics: computed at least in float32, returned in the dtype of x.
    Raises: ValueError for num_functions < 2, for low >= high and for d = 0.
    Source: FastKAN (Li, 2024), RadialBasisFunction. As a basis of layers: conv_kan.bases.RBF.
    """

    def __init__(
        self,
        low: float = -2.0,
        high: float = 2.0,
        num_functions: int = 8,
        width: float | None = None,
    ) -> None:
        super().__init__()
        self.basis = RBF(num_functions, (low, high), scale="none")
        if width is not None:
            if not width:
                raise ValueError(f"width={width!r} must not be 0; pass for example 0.5.")
            self.basis.width = float(width)

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack(self.basis.functions(x), dim=-1).to(x.dtype)
