"""What travels between an operator and the backend that computes it."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class ForwardWeights(NamedTuple):
    """All that a forward pass makes of weights alone.

    weight (O, C/groups * M, *kernel); bias (O,) or None; table (1, O, *S_out) of what differs at
    the border of an image, or None.
    """

    weight: Tensor
    bias: Tensor | None
    table: Tensor | None
