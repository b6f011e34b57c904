"""Sines and cosines."""

from __future__ import annotations

import torch
from torch import Tensor

from conv_kan.bases.base import Basis
from conv_kan.ops.maths.checks import check_int
from conv_kan.ops.maths.formula import Formula


class Fourier(Basis):
    """phi = 1, cos(x), sin(x), cos(2 x), sin(2 x), ..., cos(n x), sin(n x), n = num_frequencies.

    Orthogonal over a period. Without `constant` the leading 1 is left out. K = 2 n + 1, or 2 n.

    Shapes: (B, C, *S) -> (B, C*K, *S).
    Numerics: in float32 the absolute error grows as 1e-7 n |x|; NaN where n |x| overflows.
    Raises: ValueError for num_frequencies < 1, an unknown squash or scale; TypeError if
    num_frequencies is not an integer.
    Source: FourierKAN (Noesis, 2024).
    """

    def __init__(
        self,
        num_frequencies: int = 3,
        constant: bool = True,
        *,
        squash: str = "none",
        scale: str = "unit",
    ) -> None:
        check_int("num_frequencies", num_frequencies, 1)
        super().__init__(
            2 * num_frequencies + constant,
            squash=squash,
            constants={0: 1.0} if constant else None,
            num_frequencies=num_frequencies,
            constant=constant,
        )
        self.num_frequencies = num_frequencies
        self.set_scale(scale)

    def functions(self, x: Tensor, *shape: Tensor) -> list[Tensor]:
        z = self.squash(x)
        angles = [n * z for n in range(1, self.num_frequencies + 1)]
        return [wave(angle) for angle in angles for wave in (torch.cos, torch.sin)]

    def formula(self) -> Formula:
        count = ("KAN_NUM_FREQUENCIES", str(self.num_frequencies))
        return Formula("Fourier", (count, self.squash_macro()))
