"""Legendre polynomials."""

from __future__ import annotations

from torch import Tensor

from conv_kan.bases.range_polynomial import RangePolynomial


class Legendre(RangePolynomial):
    """P_0 = 1, P_1 = z, m P_m = (2m - 1) z P_{m-1} - (m - 1) P_{m-2}, z = tanh(x) by default.

    squash="minmax" is legacy, for published weights: see RangePolynomial.

    Shapes: (B, C, *S) -> (B, C*(degree + 1), *S).
    Raises: as Chebyshev.
    Source: KALN (torch-conv-kan), which has the legacy squash only and returns NaN where high =
    low.
    """

    def __init__(self, degree: int = 3, *, squash: str = "tanh", scale: str = "unit") -> None:
        super().__init__(degree, squash=squash, scale=scale)

    def recurrence(self, m: int, *shape: Tensor) -> tuple[float, float, float]:
        return (2 * m - 1) / m, 0.0, (m - 1) / m
