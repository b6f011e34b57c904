"""The functions of another basis, each multiplied by its input."""

from __future__ import annotations

import copy

from torch import Tensor

from conv_kan.bases.base import Basis
from conv_kan.ops.maths.dtypes import promote


class TimesInput(Basis):
    """phi_j(x) = x psi_j(x) of the functions psi_j of another basis; none of them is constant.

    What the other basis scales and squashes is inside psi. It is copied.

    Shapes: (B, C, *S) -> (B, C K, *S).
    Raises: ValueError for an unknown scale.
    Source: RKAN (arXiv 2410.05500), whose code has x T_m(tanh x) where its paper has T_m(tanh x).
    """

    def __init__(self, basis: Basis, *, scale: str = "unit") -> None:
        super().__init__(basis.num_functions, squash="none")
        self.inner = copy.deepcopy(basis)
        self.set_scale(scale, *(t.detach().double().cpu() for t in self.shape))

    @property
    def shape(self) -> tuple[Tensor, ...]:
        return self.inner.shape

    def shape_of(self, x: Tensor) -> tuple[Tensor, ...]:
        return self.inner.shape_of(x)

    def bind(self, channels: int, groups: int = 1) -> None:
        self.inner.bind(channels, groups)

    def functions(self, x: Tensor, *shape: Tensor) -> list[Tensor]:
        wide = promote(x)
        constants = [wide * value for _, value in sorted(self.inner.constants.items())]
        return constants + [wide * f for f in self.inner.functions(x, *shape)]
