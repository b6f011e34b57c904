"""Initial weights of variance one."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from conv_kan.ops.maths.expansion import Expansion
from conv_kan.ops.maths.quadrature import gaussian_mean


def init_variance_(
    basis_weight: Tensor, base_weight: Tensor | None, expansion: Expansion, second_moment: float
) -> None:
    """Draw normal weights such that Var(y) = 1 for x ~ N(0, 1), half of it from each branch.

        Var(w_basis) = share / (fan_in E[sum_j (s phi_j)^2])
        Var(w_base)  = share / (fan_in E[base^2])

    with fan_in = C/groups * prod(kernel), share = 1/2, or 1 without a base branch; `second_moment`
    is the expectation over the scaled functions. Positions that see zero padding get less.
    """
    fan_in = basis_weight[0, :, 0].numel()
    share = 1.0 if base_weight is None else 0.5
    with torch.no_grad():
        basis_weight.normal_(0.0, math.sqrt(share / (fan_in * second_moment)))
        if base_weight is not None and expansion.base is not None:
            base = expansion.base
            energy = gaussian_mean(lambda x: base(x) ** 2)
            base_weight.normal_(0.0, math.sqrt(share / (fan_in * energy)))
