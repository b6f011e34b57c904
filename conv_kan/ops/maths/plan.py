"""What travels between an operator and the backend that computes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from conv_kan.ops.maths.expansion import Expansion
from conv_kan.ops.maths.geometry import Geometry


@dataclass(frozen=True)
class Plan:
    """All that is fixed for a convolution over an expansion, but the tensors.

    `dtype` is that of the buffer and of the convolution, `size` that of the images: S. `centered`:
    a norm subtracts the mean of every output over (samples and) positions, so that what is the same
    at all of them has the gradient 0, to all orders. Summed up, that 0 is a rounding error, which
    Adam would turn into steps of the learning rate; it is left out of the sums instead.
    """

    expansion: Expansion
    geometry: Geometry
    dtype: torch.dtype
    size: tuple[int, ...]
    centered: bool = False


class Inputs(NamedTuple):
    """x; u, the input of the basis branch if it is another tensor; the learned shape.

    Shapes: x, u (B, C, *S).
    """

    x: Tensor
    u: Tensor | None = None
    shape: Sequence[Tensor] = ()


class Weights(NamedTuple):
    """The parameters of the convolution; `edge` multiplies all that basis holds for an edge.

    Shapes: basis (O, C/groups, K, *kernel), base (O, C/groups, *kernel), bias (O,), edge
    (O, C/groups).
    """

    basis: Tensor
    base: Tensor | None = None
    bias: Tensor | None = None
    edge: Tensor | None = None

    @property
    def edges(self) -> Tensor | None:
        """`edge` such that it broadcasts with basis."""
        if self.edge is None:
            return None
        return self.edge.reshape(*self.edge.shape, *[1] * (self.basis.dim() - 2))


class WeightGrads(NamedTuple):
    """The gradients of Weights that come from that of the convolution's weight."""

    basis: Tensor
    base: Tensor | None = None
    edge: Tensor | None = None


class Wanted(NamedTuple):
    """Which of (x, u, *shape) want gradients, and whether the buffer shall hold e afterwards."""

    grads: Sequence[bool]
    refill: bool


class ForwardWeights(NamedTuple):
    """All that a forward pass makes of weights alone.

    weight (O, C/groups * M, *kernel); bias (O,) or None; table (1, O, *S_out) of what differs at
    the border of an image, or None.
    """

    weight: Tensor
    bias: Tensor | None
    table: Tensor | None
