"""Rational functions with a denominator for every group of channels."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from conv_kan.bases.base import Basis
from conv_kan.bases.rational_init import RATIONALS, Coefficients
from conv_kan.ops.maths.channels import per_group
from conv_kan.ops.maths.checks import check_choice, check_int
from conv_kan.ops.maths.dtypes import working_dtype
from conv_kan.ops.maths.formula import Formula
from conv_kan.ops.maths.rational import quotient


class Rational(Basis):
    """F = P / Q, P = sum_{m=0..5} a_m z^m, Q = 1 + sum_{m=1..4} |b_gm| |z|^m, one function: K = 1.

    a is learned and shared by all channels, b is learned for each of num_groups groups of
    neighbouring channels; `init` names the function they imitate at first
    (conv_kan.bases.rational_init). GroupRational is the same function as an activation.

    Shapes: (B, C, *S) -> (B, C, *S); numerator a (6,), denominator b (num_groups, 4).
    Numerics: as GroupRational.
    Raises: ValueError for an unknown init, num_groups < 1 or not a divisor of the channels, an
    unknown squash or scale; TypeError if num_groups is not an integer.
    Source: KAT (Yang and Wang, 2024); Molina et al. (2020) for rational activations.
    """

    def __init__(
        self,
        num_groups: int = 1,
        init: str = "swish",
        *,
        squash: str = "none",
        scale: str = "unit",
    ) -> None:
        check_int("num_groups", num_groups, 1)
        check_choice("init", init, RATIONALS)
        super().__init__(1, squash=squash, num_groups=num_groups, init=init)
        self.init = init
        self.numerator = nn.Parameter(torch.empty(6))
        self.denominator = nn.Parameter(torch.empty(num_groups, 4))
        self.reset_parameters()
        a, b = (torch.tensor(c, dtype=torch.float64, device="cpu") for c in RATIONALS[init])
        self.set_scale(scale, a, b.unsqueeze(0))

    def reset_parameters(self) -> None:
        """The coefficients of the function called `init`."""
        fill_rational_(self.numerator, self.denominator, RATIONALS[self.init])

    def bind(self, channels: int, groups: int = 1) -> None:
        check_divides(self.denominator.shape[0], channels)

    @property
    def shape(self) -> tuple[Tensor, ...]:
        return self.numerator, self.denominator

    def functions(self, x: Tensor, *shape: Tensor) -> list[Tensor]:
        z = self.squash(x)
        a, b = (t.to(working_dtype(x)) for t in shape)
        return [quotient(z, a, b, lambda column: per_group(column, z))]

    def formula(self) -> Formula:
        counts = (("KAN_NUMERATOR", "6"), ("KAN_DENOMINATOR", "4"))
        return Formula("Rational", (*counts, self.squash_macro()), neighbours=True)


def fill_rational_(numerator: Tensor, denominator: Tensor, coefficients: Coefficients) -> None:
    """Write the coefficients of a function, the same in every group."""
    a, b = coefficients
    with torch.no_grad():
        numerator.copy_(torch.tensor(a, dtype=torch.float64))
        denominator.copy_(torch.tensor(b, dtype=torch.float64).expand_as(denominator))


def check_divides(num_groups: int, channels: int) -> None:
    """Raise ValueError unless num_groups divides channels."""
    if channels % num_groups:
        raise ValueError(
            f"num_groups={num_groups} does not divide {channels} channels; pass a divisor of "
            f"{channels}."
        )
