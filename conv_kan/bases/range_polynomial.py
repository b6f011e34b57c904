"""Polynomials of x scaled by the range of the batch, for published weights."""

from __future__ import annotations

import torch
from torch import Tensor

from conv_kan.bases.polynomial import Polynomial
from conv_kan.ops.maths.channels import per_group
from conv_kan.ops.maths.dtypes import promote
from conv_kan.ops.maths.formula import Formula

# The range of a batch that the scale of the legacy squash assumes.
_NOMINAL_RANGE = 4.0


class RangePolynomial(Polynomial):
    """A polynomial basis that also knows squash="minmax", which is legacy.

    z = (2 x - low - high) / (high - low), low and high the minimum and maximum over the whole batch
    and a group's channels. The output for one sample then depends on the others. Where high = low,
    z = 0.
    """

    squashes = (*Polynomial.squashes, "minmax")

    def __init__(self, degree: int, *, squash: str, scale: str) -> None:
        super().__init__(degree, squash=squash)
        self.over_batch, self.num_groups = squash == "minmax", 1
        bound = torch.full((1,), _NOMINAL_RANGE, dtype=torch.float64, device="cpu")
        self.set_scale(scale, *((-bound, bound) if self.over_batch else ()))

    def bind(self, channels: int, groups: int = 1) -> None:
        self.num_groups = groups

    def shape_of(self, x: Tensor) -> tuple[Tensor, ...]:
        """(low, high) of every group, (groups,) each, for squash="minmax"."""
        if not self.over_batch:
            return ()
        if x.numel() == 0:
            return x.new_zeros(self.num_groups), x.new_zeros(self.num_groups)
        groups = x.unflatten(1, (self.num_groups, -1)).movedim(1, 0).flatten(1)
        return groups.amin(1), groups.amax(1)

    def formula(self) -> Formula | None:
        if self.over_batch:
            return None
        return Formula(type(self).__name__, (("KAN_DEGREE", str(self.degree)), self.squash_macro()))

    def squash(self, x: Tensor, *shape: Tensor) -> Tensor:
        if not self.over_batch:
            return super().squash(x)
        low, high = (per_group(bound, x) for bound in shape)
        spread = high - low
        return (2.0 * promote(x) - (low + high)) / torch.where(spread > 0, spread, 1.0)
