"""Powers."""

from __future__ import annotations

from torch import Tensor

from conv_kan.bases.polynomial import Polynomial
from conv_kan.ops.maths.formula import Formula


class Monomial(Polynomial):
    """phi_m = z^m, m = 0..degree, with z = tanh(x) by default.

    Shapes: (B, C, *S) -> (B, C*(degree + 1), *S).
    Raises: as Chebyshev.
    Source: KANvolver (TorchKAN), a Taylor expansion about 0; there x itself is raised.
    """

    def __init__(self, degree: int = 3, *, squash: str = "tanh", scale: str = "unit") -> None:
        super().__init__(degree, squash=squash)
        self.set_scale(scale)

    def functions(self, x: Tensor, *shape: Tensor) -> list[Tensor]:
        z = self.squash(x)
        values = [z]
        for _ in range(2, self.degree + 1):
            values.append(values[-1] * z)
        return values

    def formula(self) -> Formula:
        return Formula("Monomial", (("KAN_DEGREE", str(self.degree)), self.squash_macro()))
