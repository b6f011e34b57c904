"""Group rational activation."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from conv_kan.bases.rational import check_divides, fill_rational_
from conv_kan.bases.rational_init import Coefficients, find_rational
from conv_kan.layers.arguments import NamedArguments
from conv_kan.layers.inputs import check_grid, check_tensor
from conv_kan.names import BACKENDS
from conv_kan.ops.maths.checks import check_choice, check_int
from conv_kan.ops.rational import group_rational


class GroupRational(NamedArguments, nn.Module):
    """F = P / Q, P = sum_{m=0..M} a_m x^m, Q = 1 + sum_{m=1..N} |b_gm| |x|^m, elementwise.

    a is shared by all channels, b belongs to one of num_groups groups of neighbouring channels, g =
    c // (C / num_groups); all are learned. They start as the function called `init` (unscaled), M =
    5 and N = 4, or as the pair ((a_0, ..., a_M), (b_1, ..., b_N)), of any orders, that `python -m
    experiments.studies.fit_rational` prints for a function. backend as KANConv.

    Shapes: x, y (..., C) with channels_last, else (B, C, *S); numerator (M + 1,), denominator
    (num_groups, N).
    Numerics: computed at least in float32, returned in the dtype of x; beyond |x| = 1 in powers of
    1 / x, so that F is finite wherever it is a number of that dtype; NaN for NaN and infinities.
    Training keeps x and nothing else. The gradients of a and b are sums in float64 whose order does
    not depend on the number of threads. b_m = 0 has the gradient of |b_m| from the right, so that
    it can grow.
    Raises: ValueError for an unknown init or one that is no pair, num_groups < 1, channels that it
    does not divide, fewer than two dimensions; TypeError for an input that is not floating-point.
    Source: KAT (Yang and Wang, 2024). Its fallback for CPUs takes x instead of |x| in Q
    and is another function for x < 0; this one is the same everywhere.
    """

    learned_shapes = ("numerator", "denominator")  # which weight decay leaves alone

    def __init__(
        self,
        num_groups: int = 8,
        init: str | Coefficients = "gelu",
        *,
        channels_last: bool = True,
        backend: str = "auto",
    ) -> None:
        super().__init__()
        check_int("num_groups", num_groups, 1)
        a, b = find_rational(init)
        self.init = init if isinstance(init, str) else (a, b)
        self.channels_last = channels_last
        self.backend = check_choice("backend", backend, BACKENDS)
        self.numerator = nn.Parameter(torch.empty(len(a)))
        self.denominator = nn.Parameter(torch.empty(num_groups, len(b)))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """The coefficients that `init` names or is."""
        fill_rational_(self.numerator, self.denominator, find_rational(self.init))

    def forward(self, x: Tensor) -> Tensor:
        check_tensor("GroupRational", x)
        if x.dim() < 2:
            raise ValueError(
                f"GroupRational got an input of shape {tuple(x.shape)} but takes "
                f"{'(..., C)' if self.channels_last else '(B, C, ...)'}; use x.unsqueeze(0)."
            )
        if not x.is_floating_point():
            raise TypeError(f"GroupRational got {x.dtype} but takes numbers; type x.float().")
        check_divides(self.denominator.shape[0], x.shape[-1 if self.channels_last else 1])
        return group_rational(x, self.numerator, self.denominator, self.channels_last, self.backend)

    def edge_functions(self, grid: Tensor) -> Tensor:
        """F_g(t), the learned function of every group.

        Shapes: grid (N,) -> (num_groups, N).
        Raises: as KANConv.edge_functions.
        """
        check_grid("GroupRational", grid, self.numerator)
        points = grid.unsqueeze(1).expand(-1, len(self.denominator))
        return group_rational(points, self.numerator, self.denominator, True).t()

    def extra_repr(self) -> str:
        return (
            f"num_groups={self.denominator.shape[0]}, init={self.init!r}, "
            f"channels_last={self.channels_last}, backend={self.backend!r}"
        )
