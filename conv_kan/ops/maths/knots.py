"""B-splines on knots of any distances, a row of them for every channel."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from conv_kan.ops.maths.dtypes import promote


def splines(x: Tensor, grid: Tensor, order: int) -> Tensor:
    """B_cj(x_c) by Cox and de Boor on the knots t = grid_c; a quotient by 0 counts as 0.

        B^0_j = 1 on [t_j, t_{j+1}),
        B^p_j = (x - t_j) / (t_{j+p} - t_j) B^{p-1}_j
              + (t_{j+p+1} - x) / (t_{j+p+1} - t_{j+1}) B^{p-1}_{j+1}

    Shapes: x (B, C), grid (C, M) -> (B, C, M - 1 - order). Numerics: at least float32; 0 beyond the
    knots, also at infinities; NaN for NaN.
    """
    x = promote(x).unsqueeze(-1)
    grid = grid.to(x.dtype)
    cells = (x >= grid[:, :-1]) & (x < grid[:, 1:])
    values = cells.to(x.dtype).masked_fill(x.isnan(), math.nan)  # not 0, as beyond the grid
    beyond = (x < grid[:, :1]) | (x >= grid[:, -1:])
    x = torch.where(beyond, grid[:, :1], x)  # what multiplies 0 must be finite
    for p in range(1, order + 1):
        rising = _quotient(x - grid[:, : -(p + 1)], grid[:, p:-1] - grid[:, : -(p + 1)])
        falling = _quotient(grid[:, p + 1 :] - x, grid[:, p + 1 :] - grid[:, 1:-p])
        values = rising * values[..., :-1] + falling * values[..., 1:]
    return values


def _quotient(numerator: Tensor, denominator: Tensor) -> Tensor:
    empty = denominator == 0
    return (numerator / torch.where(empty, 1.0, denominator)).masked_fill(empty, 0.0)
