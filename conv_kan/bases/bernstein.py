"""Bernstein polynomials."""

from __future__ import annotations

import math

from torch import Tensor

from conv_kan.bases.base import Basis
from conv_kan.ops.maths.checks import check_int
from conv_kan.ops.maths.formula import Formula


class Bernstein(Basis):
    """b_j(u) = binom(d, j) u^j (1 - u)^(d - j), j = 0..d, with u = sigmoid(x) by default.

    They sum to 1 and none of them is constant. d is the degree, K = d + 1.

    Shapes: (B, C, *S) -> (B, C*(degree + 1), *S).
    Raises: as Chebyshev.
    Source: KABN (torch-conv-kan), whose recursion starts from ones: its functions all equal 1.
    """

    def __init__(self, degree: int = 3, *, squash: str = "sigmoid", scale: str = "unit") -> None:
        check_int("degree", degree, 1)
        super().__init__(degree + 1, squash=squash, degree=degree)
        self.degree = degree
        self.set_scale(scale)

    def functions(self, x: Tensor, *shape: Tensor) -> list[Tensor]:
        d, u = self.degree, self.squash(x)
        v = 1.0 - u
        u_powers, v_powers = [u], [v]
        for _ in range(d - 1):
            u_powers.append(u_powers[-1] * u)
            v_powers.append(v_powers[-1] * v)
        middle = [
            u_powers[j - 1] * v_powers[d - j - 1] * float(math.comb(d, j)) for j in range(1, d)
        ]
        return [v_powers[-1], *middle, u_powers[-1]]

    def formula(self) -> Formula:
        return Formula("Bernstein", (("KAN_DEGREE", str(self.degree)), self.squash_macro()))
