"""B-splines on a uniform grid."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor

from conv_kan.bases.base import Basis
from conv_kan.ops.maths.checks import check_int, check_range
from conv_kan.ops.maths.formula import Formula, literal


class BSpline(Basis):
    """B_j(x) = sum_{k < q} (-1)^k binom(p+1, k) (q - k - |x - c_j| / h)_+^p / p!, q = (p + 1) / 2.

    The splines of order p = spline_order on the knots t_m = low + (m - p) h, m = 0..G+2p, G =
    grid_size, h = (high - low) / G; c_j is the middle of the support [t_j, t_{j+p+1}). All are
    shifts of one even function, so that the Cox-de Boor recursion has this closed form, which is 0
    outside the support and sums to 1 over j inside the grid. For p = 0, B_j is the indicator of
    [t_j, t_{j+1}), whose gradient is 0. K = G + p.

    Shapes: (B, C, *S) -> (B, C*(grid_size + spline_order), *S).
    Numerics: terms of opposite sign cancel; in float32 the absolute error stays near 1e-7 for p = 3
    and below 1e-5 for p = 7.
    Raises: ValueError for grid_size < 1, spline_order < 0, a grid_range that does not increase, an
    unknown squash or scale; TypeError if a size is not an integer.
    Source: KAN (Liu et al., 2024), equation 2.9; Schoenberg (1946) for the closed form.
    """

    def __init__(
        self,
        grid_size: int = 5,
        spline_order: int = 3,
        grid_range: Sequence[float] = (-1.0, 1.0),
        *,
        squash: str = "none",
        scale: str = "unit",
    ) -> None:
        check_int("grid_size", grid_size, 1)
        check_int("spline_order", spline_order, 0)
        low, high = check_range("grid_range", grid_range)
        super().__init__(
            grid_size + spline_order,
            squash=squash,
            grid_size=grid_size,
            spline_order=spline_order,
            grid_range=(low, high),
        )
        self.order, self.low, self.step = spline_order, low, (high - low) / grid_size
        self.set_scale(scale)

    def knot(self, m: int) -> float:
        """t_m."""
        return self.low + (m - self.order) * self.step

    def functions(self, x: Tensor, *shape: Tensor) -> list[Tensor]:
        z = self.squash(x)
        if self.order == 0:
            knots = [self.knot(j) for j in range(self.num_functions + 1)]
            cells = [(z >= low) & (z < high) for low, high in pairwise(knots)]
            # Comparisons with NaN are false: it would count as outside the grid, unseen.
            return [cell.to(z.dtype).masked_fill(z.isnan(), math.nan) for cell in cells]
        return [self._bump(z, self.middle(j)) for j in range(self.num_functions)]

    def formula(self) -> Formula:
        return Formula("BSpline", (*self.grid_macros(), self.squash_macro()))

    def grid_macros(self) -> tuple[tuple[str, str], ...]:
        """The macros that tell a functor the grid."""
        return (
            ("KAN_GRID_SIZE", str(self.num_functions - self.order)),
            ("KAN_SPLINE_ORDER", str(self.order)),
            ("KAN_LOW", literal(self.low)),
            ("KAN_STEP", literal(self.step)),
        )

    def middle(self, j: int) -> float:
        """The middle of the support of B_j."""
        return self.low + (j + (1 - self.order) / 2) * self.step

    def _bump(self, z: Tensor, middle: float) -> Tensor:
        """B_j(z), its support centred on `middle`."""
        p, half = self.order, (self.order + 1) / 2
        a = (z - middle).abs() / self.step
        value = F.relu(half - a).pow(p) / math.factorial(p)  # relu keeps the gradient of NaN
        for k in range(1, math.ceil(half)):
            factor = (-1) ** k * math.comb(p + 1, k) / math.factorial(p)
            value = value.add(F.relu(half - k - a).pow(p), alpha=factor)
        return value
