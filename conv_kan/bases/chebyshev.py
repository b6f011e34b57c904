"""Chebyshev polynomials of the first kind."""

from __future__ import annotations

from torch import Tensor

from conv_kan.bases.range_polynomial import RangePolynomial


class Chebyshev(RangePolynomial):
    """T_0 = 1, T_1 = z, T_m = 2 z T_{m-1} - T_{m-2}, with z = tanh(x) by default.

    squash="minmax" is legacy, for the weights of torchkan's KAC_Net: see RangePolynomial.

    Shapes: (B, C, *S) -> (B, C*(degree + 1), *S).
    Raises: ValueError for degree < 1, for an unknown squash or scale; TypeError if degree is not an
    integer.
    Source: KACN (torch-conv-kan), which computes cos(m acos(clamp(tanh x))): the same values, but a
    gradient that is infinite where the clamp rounds to 1.
    """

    def __init__(self, degree: int = 3, *, squash: str = "tanh", scale: str = "unit") -> None:
        super().__init__(degree, squash=squash, scale=scale)

    def recurrence(self, m: int, *shape: Tensor) -> tuple[float, float, float]:
        return 2.0, 0.0, 1.0
