"""Polynomials that follow a three-term recurrence."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from conv_kan.bases.base import Basis
from conv_kan.ops.maths.checks import check_int


class Polynomial(Basis):
    """P_0 = 1, P_1 = z, P_m = (a_m z + b_m) P_{m-1} - c_m P_{m-2}, with z = squash(x).

    A subclass gives (a_m, b_m, c_m) by `recurrence`, and another P_1 by `first`. K = degree + 1;
    P_0 is constant.
    Numerics: the recurrence has no singular points, unlike cos(m acos z), whose gradient is
    infinite at z = +-1.
    """

    def __init__(self, degree: int, *, squash: str, constant: float = 1.0, **arguments: Any):
        check_int("degree", degree, 1)
        super().__init__(
            degree + 1, squash=squash, constants={0: constant}, degree=degree, **arguments
        )
        self.degree = degree

    def first(self, z: Tensor) -> Tensor:
        """P_1."""
        return z

    def recurrence(self, m: int, *shape: Tensor) -> tuple[float, float, float | Tensor]:
        """(a_m, b_m, c_m) for m >= 2."""
        raise NotImplementedError(f"{type(self).__name__} must implement recurrence(m, *shape)")

    def functions(self, x: Tensor, *shape: Tensor) -> list[Tensor]:
        z = self.squash(x, *shape)
        before, last = z.new_ones(()), self.first(z)
        values = [last]
        for m in range(2, self.degree + 1):
            a, b, c = self.recurrence(m, *shape)
            rest = before * -c if b == 0.0 else before * -c + last * b
            before, last = last, torch.addcmul(rest, z, last, value=a)
            values.append(last)
        return values
