"""Gaussian radial basis functions on a uniform grid."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from conv_kan.bases.base import Basis
from conv_kan.ops.maths.bounds import bounded
from conv_kan.ops.maths.checks import check_int, check_range
from conv_kan.ops.maths.formula import Formula, literal


class RBF(Basis):
    """phi_j(x) = exp(-((x - c_j) / d)^2), c_j = low + j d, d = (high - low) / (grid_size - 1).

    `set_centres` moves the centres, which are not part of the state; the width d stays.

    Shapes: (B, C, *S) -> (B, C*grid_size, *S).
    Raises: ValueError for grid_size < 2, a grid_range that does not increase, an unknown squash or
    scale; TypeError if grid_size is not an integer.
    Source: FastKAN (Li, 2024), torch-conv-kan.
    """

    def __init__(
        self,
        grid_size: int = 8,
        grid_range: Sequence[float] = (-2.0, 2.0),
        *,
        squash: str = "none",
        scale: str = "unit",
    ) -> None:
        check_int("grid_size", grid_size, 2)
        low, high = check_range("grid_range", grid_range)
        super().__init__(grid_size, squash=squash, grid_size=grid_size, grid_range=(low, high))
        self.width = (high - low) / (grid_size - 1)
        self.centres = tuple(low + j * self.width for j in range(grid_size))
        self.set_scale(scale)

    def set_centres(self, centres: Sequence[float] | Tensor) -> None:
        """Put c_j where a loaded grid has them.

        Raises: ValueError unless there are grid_size finite numbers.
        """
        values = tuple(float(c) for c in centres)
        if len(values) != self.num_functions or not all(math.isfinite(c) for c in values):
            raise ValueError(
                f"centres={values} must be {self.num_functions} finite numbers; pass as many, or "
                f"make the basis with grid_size={len(values)}."
            )
        self.centres = values

    def functions(self, x: Tensor, *shape: Tensor) -> list[Tensor]:
        z = self.squash(x)
        values = []
        for c in self.centres:
            t = bounded((z - c) / self.width, 40.0)  # where exp(-t^2) is 0
            values.append(torch.exp(-t * t))
        return values

    def formula(self) -> Formula:
        centres = ", ".join(literal(c) for c in self.centres)
        macros = (
            ("KAN_NUM_CENTRES", str(self.num_functions)),
            ("KAN_CENTRES", centres),
            ("KAN_WIDTH", literal(self.width)),
            self.squash_macro(),
        )
        return Formula("RBF", macros)
