"""Gram polynomials with a learned shape."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from conv_kan.bases.polynomial import Polynomial
from conv_kan.ops.maths.activations import (
    ActivationLike,
    activation_function,
    check_activation,
)
from conv_kan.ops.maths.dtypes import working_dtype
from conv_kan.ops.maths.formula import Formula, camel_case


class Gram(Polynomial):
    """phi_m = outer(P_m), P_0 = 1, P_1 = z, P_m = z P_{m-1} - g_m beta_{m-1} P_{m-2}, z = tanh(x).

    g_m = (2m - 1) (m - 1)^2 (4 (m - 1)^2 - 1) / m^2 and beta (degree + 1) is learned, shared by all
    channels, and 0 at first: then P_m = z^m. beta_0 and beta_degree multiply nothing; they are kept
    because published weights have them. `outer` names an activation, or is a function or module.

    Shapes: (B, C, *S) -> (B, C*(degree + 1), *S); beta (degree + 1).
    Raises: as Chebyshev; ValueError for an unknown activation, and for one that is not elementwise.
    Source: KAGN (torch-conv-kan), where outer is SiLU. g_m is not the textbook coefficient of the
    Gram polynomials (the fraction stands upside down), but published weights depend on it.
    """

    def __init__(
        self,
        degree: int = 3,
        *,
        outer: ActivationLike = "silu",
        squash: str = "tanh",
        scale: str = "unit",
    ) -> None:
        outer = check_activation("outer", outer)
        with torch.device("cpu"):
            constant = float(activation_function(outer)(torch.ones((), dtype=torch.float64)))
        super().__init__(degree, squash=squash, constant=constant, outer=outer)
        self.outer = outer
        self.beta = nn.Parameter(torch.zeros(self.degree + 1))
        self.set_scale(scale, torch.zeros(self.degree + 1, dtype=torch.float64, device="cpu"))

    def reset_parameters(self) -> None:
        """beta = 0."""
        nn.init.zeros_(self.beta)

    @property
    def shape(self) -> tuple[Tensor, ...]:
        return (self.beta,)

    def recurrence(self, m: int, *shape: Tensor) -> tuple[float, float, Tensor]:
        (beta,) = shape
        g = (2 * m - 1) * (m - 1) ** 2 * (4 * (m - 1) ** 2 - 1) / m**2
        return 1.0, 0.0, g * beta[m - 1]

    def functions(self, x: Tensor, *shape: Tensor) -> list[Tensor]:
        (beta,) = shape
        outer = activation_function(self.outer)
        return [outer(p) for p in super().functions(x, beta.to(working_dtype(x)))]

    def formula(self) -> Formula | None:
        if not isinstance(self.outer, str):
            return None
        degree = ("KAN_DEGREE", str(self.degree))
        outer = ("KAN_OUTER", camel_case(self.outer))
        return Formula("Gram", (degree, self.squash_macro(), outer))
