"""Jacobi polynomials."""

from __future__ import annotations

from torch import Tensor

from conv_kan.bases.polynomial import Polynomial
from conv_kan.ops.maths.formula import Formula, literal


class Jacobi(Polynomial):
    """P_0 = 1, P_1 = ((a - b) + s z) / 2, P_m = (a_m z + b_m) P_{m-1} - c_m P_{m-2}, z = tanh(x).

    With s = a + b + 2 and t = 2m + a + b:

        a_m = t (t - 1) / (2m (m + a + b))
        b_m = (t - 1) (a^2 - b^2) / (2m (m + a + b) (t - 2))
        c_m = (m + a - 1) (m + b - 1) t / (m (m + a + b) (t - 2))

    orthogonal on [-1, 1] for the weight (1 - z)^a (1 + z)^b; a = b = 0 gives Legendre.

    Shapes: (B, C, *S) -> (B, C*(degree + 1), *S).
    Raises: as Chebyshev; ValueError for a or b not above -1.
    Source: KAJN (torch-conv-kan); Szego (1939), equation 4.5.1.
    """

    def __init__(
        self,
        degree: int = 3,
        a: float = 1.0,
        b: float = 1.0,
        *,
        squash: str = "tanh",
        scale: str = "unit",
    ) -> None:
        for label, value in (("a", a), ("b", b)):
            if not value > -1.0:
                raise ValueError(
                    f"{label}={value!r} must be greater than -1: the weight "
                    "(1 - z)^a (1 + z)^b has no integral otherwise; pass for example 1."
                )
        super().__init__(degree, squash=squash, a=float(a), b=float(b))
        self.a, self.b = float(a), float(b)
        self.set_scale(scale)

    def first(self, z: Tensor) -> Tensor:
        return ((self.a - self.b) + (self.a + self.b + 2.0) * z) / 2.0

    def recurrence(self, m: int, *shape: Tensor) -> tuple[float, float, float]:
        a, b = self.a, self.b
        t, n = 2 * m + a + b, m * (m + a + b)
        return (
            t * (t - 1) / (2 * n),
            (t - 1) * (a * a - b * b) / (2 * n * (t - 2)),
            (m + a - 1) * (m + b - 1) * t / (n * (t - 2)),
        )

    def formula(self) -> Formula:
        numbers = (("KAN_JACOBI_A", literal(self.a)), ("KAN_JACOBI_B", literal(self.b)))
        degree = ("KAN_DEGREE", str(self.degree))
        return Formula("Jacobi", (degree, *numbers, self.squash_macro()))
