"""One learned function for a whole layer."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from conv_kan.bases.base import Basis
from conv_kan.bases.bspline import BSpline
from conv_kan.ops.maths.bounds import bounded
from conv_kan.ops.maths.dtypes import working_dtype
from conv_kan.ops.maths.formula import Formula


class SharedSpline(Basis):
    """phi(x) = sum_j w_j B_j(x), one learned function for all channels of a layer.

    B_j are those of BSpline. At first w_j = silu(xi_j), xi_j the middle of B_j: phi is then close
    to SiLU on the grid, and 0 beyond its support. A layer with this basis is a plain layer behind a
    learned activation: what K functions per channel have to beat at equal parameters. K = 1.
    Evaluated as one polynomial per interval between knots, which costs the same for any grid_size.

    Shapes: (B, C, *S) -> (B, C, *S); coefficients w (grid_size + spline_order,).
    Raises: as BSpline.
    Source: single-variable KAN (SV-KAN); Schoenberg (1967) for the initial coefficients.
    """

    def __init__(
        self,
        grid_size: int = 8,
        spline_order: int = 3,
        grid_range: Sequence[float] = (-4.0, 4.0),
        *,
        squash: str = "none",
        scale: str = "unit",
    ) -> None:
        splines = BSpline(grid_size, spline_order, grid_range, scale="none")
        low, high = grid_range
        super().__init__(
            1,
            squash=squash,
            grid_size=grid_size,
            spline_order=spline_order,
            grid_range=(float(low), float(high)),
        )
        self.splines = splines
        self._segments = self._find_segments()
        self.coefficients = nn.Parameter(torch.empty(splines.num_functions))
        self.reset_parameters()
        self.set_scale(scale, self._initial())

    def _initial(self) -> Tensor:
        """silu(xi_j) in float64 on the CPU."""
        middles = [self.splines.middle(j) for j in range(self.splines.num_functions)]
        return F.silu(torch.tensor(middles, dtype=torch.float64, device="cpu"))

    def reset_parameters(self) -> None:
        """w_j = silu(xi_j)."""
        with torch.no_grad():
            self.coefficients.copy_(self._initial())

    @property
    def shape(self) -> tuple[Tensor, ...]:
        return (self.coefficients,)

    def functions(self, x: Tensor, *shape: Tensor) -> list[Tensor]:
        (coefficients,) = shape
        z, order = bounded(self.squash(x)), self.splines.order
        place = (z - self.splines.knot(0)) / self.splines.step
        cell = torch.floor(place.detach())
        pieces = self._pieces(coefficients.to(working_dtype(x)))
        # Row 0 and the last row are the zeros beyond the support.
        row = torch.nan_to_num(cell + 1.0).clamp(0, len(pieces) - 1).long()
        powers = F.embedding(row, pieces).unbind(-1)
        t, value = place - cell, powers[order]
        if order == 0:  # otherwise t carries NaN on
            value = value.masked_fill(z.isnan(), math.nan)
        for coefficient in reversed(powers[:order]):
            value = torch.addcmul(coefficient, value, t)
        return [value]

    def formula(self) -> Formula:
        return Formula("SharedSpline", (*self.splines.grid_macros(), self.squash_macro()))

    def _pieces(self, coefficients: Tensor) -> Tensor:
        """phi on [t_m, t_{m+1}) is sum_i pieces[m + 1, i] t^i, t in [0, 1)."""
        p = self.splines.order
        matrix = torch.tensor(self._segments, dtype=coefficients.dtype, device=coefficients.device)
        active = F.pad(coefficients, (p, p)).unfold(0, p + 1, 1)
        return F.pad(active @ matrix, (0, 0, 1, 1))

    def _find_segments(self) -> list[list[float]]:
        """The power coefficients (p + 1, p + 1) of the segments of one spline, the last one first.

        In the cell m, the spline j = m - p + r shows its segment p - r.
        """
        p, splines = self.splines.order, self.splines
        t = (torch.arange(p + 1, dtype=torch.float64, device="cpu") + 0.5) / (p + 1)
        powers = t.unsqueeze(1).pow(torch.arange(p + 1, device="cpu"))
        ends = torch.arange(p, -1, -1, device="cpu").unsqueeze(1)
        values = splines.functions(splines.knot(0) + (ends + t) * splines.step)[0]
        return torch.linalg.solve(powers, values.T).T.tolist()
