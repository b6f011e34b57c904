"""What KANConv and KANLinear share: y = act(norm(W_basis * phi(x) + W_base * base(x)))."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from conv_kan.bases import Basis, create_basis
from conv_kan.layers.init import init_variance_
from conv_kan.layers.layer import Layer, scale_outputs_
from conv_kan.layers.style import Style
from conv_kan.ops.expand_conv import expand_conv
from conv_kan.ops.maths.dtypes import promote
from conv_kan.ops.maths.expansion import Expansion
from conv_kan.ops.maths.geometry import Geometry
from conv_kan.ops.maths.kept import KeptWeights
from conv_kan.ops.maths.plan import Weights
from conv_kan.ops.norm_act import norm_act


class KANLayer(Layer):
    """A KAN layer over 0 (linear) to 3 (volumes) spatial dimensions; see KANConv and KANLinear.

    Parameters: basis_weight (c_out, c_in/groups, K, *kernel); base_weight (c_out, c_in/groups,
    *kernel) unless base is None; base_bias (c_out,) if asked for; basis.*, norm.*, activation.*.
    """

    base_bias: Tensor | None
    dropout_positions = (*Layer.dropout_positions, "functions")

    def __init__(
        self,
        c_in: int,
        c_out: int,
        geometry: Geometry,
        style: Style,
        *,
        basis: str | Basis,
        base_bias: bool = False,
    ) -> None:
        super().__init__(c_in, c_out, geometry, style)
        _check_dropout(style)
        self.basis = _own_basis(basis)
        self.basis.bind(c_in, geometry.groups)
        shape = (c_out, c_in // geometry.groups, self.basis.num_functions, *geometry.kernel_size)
        self.basis_weight = nn.Parameter(torch.empty(shape))
        self.register_parameter(
            "base_bias", nn.Parameter(torch.empty(c_out)) if base_bias else None
        )
        self._kept: KeptWeights | None = None
        self.reset_parameters()

    @property
    def expansion(self) -> Expansion:
        """What one channel becomes before the convolution."""
        basis = self.basis
        constants = tuple(basis.constants[j] for j in range(len(basis.constants)))
        return Expansion(
            basis.functions,
            basis.num_functions,
            constants,
            basis.scale,
            self.base_function,
            self.base,
            basis.formula(),
            self.backend,
        )

    def reset_parameters(self) -> None:
        """Draw the weights anew such that Var(y) = 1 before the norm, for x ~ N(0, 1)."""
        super().reset_parameters()
        init_variance_(
            self.basis_weight, self.base_weight, self.expansion, self.basis.second_moment
        )
        if self.base_bias is not None:
            nn.init.zeros_(self.base_bias)
        reset = getattr(self.basis, "reset_parameters", None)
        if reset is not None:
            reset()

    def penalized_weights(self) -> list[Tensor]:
        """The weights that an L1 penalty acts on."""
        return [*super().penalized_weights(), self.basis_weight]

    def branches(self, x: Tensor) -> Tensor:
        """W_basis * phi(u) + W_base * base(x) + b, in one convolution."""
        u = self._drop(x, "basis")
        if self.norm is not None and self.norm_position == "input":
            u = norm_act(u, self.norm, None, backend=self.backend)
        return expand_conv(
            x,
            Weights(self.basis_weight, self.base_weight, self.base_bias),
            expansion=self.expansion,
            geometry=self.geometry,
            shape=self.basis.shape_of(u),
            u=None if u is x else u,
            mask=self._function_mask(x),
            kept=self._kept,
        )

    def absorb(self, factor: Tensor, shift: Tensor) -> bool:
        weights = self.basis_weight, self.base_weight
        self.base_bias = scale_outputs_(weights, self.base_bias, factor, shift)
        return True

    def keep_weights(self) -> None:
        """Keep what a forward pass makes of weights alone, until they change."""
        self._kept = KeptWeights()

    def _function_mask(self, x: Tensor) -> Tensor | None:
        """Which functions of which channels this batch keeps, (B, c_in * M), if some are dropped.

        0 or 1 / (1 - dropout), and 1 for the base branch.
        """
        if not self.training or self.dropout == 0.0 or self.dropout_position != "functions":
            return None
        ones = promote(x.new_ones((*x.shape[:2], self.expansion.num_maps)))
        mask = F.dropout(ones, self.dropout)
        if self.base is not None:
            mask[:, :, 0] = 1.0
        return mask.flatten(1)

    def edge_functions(self, grid: Tensor) -> Tensor:
        """f[o, c, *k](t) = s sum_j W_basis[o, c, j, *k] phi_j(t) + W_base[o, c, *k] base(t).

        The learned function of every edge: before the norm and the activation, y[o] at a position
        is the sum over c and k of f[o, c, *k] of the value that the window holds there, where a
        padded position adds nothing (plus base_bias, if there is one). With norm_position="input"
        the first part is a function of norm(x), not of x.

        Shapes: grid (N,) -> (c_out, c_in/groups, *kernel, N).
        """
        groups, channels = self.geometry.groups, self.c_in // self.geometry.groups
        points = grid.unsqueeze(1).expand(-1, self.c_in)
        num_functions = self.basis.num_functions
        phi = self.basis(points).view(-1, groups, channels, num_functions)
        weight = self.basis_weight.reshape(
            groups, self.c_out // groups, channels, num_functions, -1
        )
        edges = torch.einsum("gocjk,ngcj->gockn", weight, phi)
        edges = edges.reshape(self.c_out, channels, *self.geometry.kernel_size, len(grid))
        base = self.base_edges(grid)
        return edges if base is None else edges + base


def _check_dropout(style: Style) -> None:
    if style.dropout_position == "functions" and style.dropout_kind == "noise":
        raise ValueError(
            "dropout_kind='noise' cannot act on the functions, whose values are not kept; "
            "pass dropout_position='basis' or dropout_kind='channel'."
        )


def _own_basis(basis: str | Basis) -> Basis:
    """A basis from its name, or a copy: layers must not share a learned shape unseen."""
    if isinstance(basis, str):
        return create_basis(basis)
    if not isinstance(basis, Basis):
        raise TypeError(
            f"basis={basis!r} must be a name or a Basis; pass 'gram' or create_basis('gram')."
        )
    return copy.deepcopy(basis)
