"""A grouped convolution with the channel order of KAGN version 2, kept for published weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from conv_kan.layers.conv import KANConv
from conv_kan.ops.maths.modes import needs_composition

_CONVS: tuple[Callable[..., Tensor], ...] = (F.conv1d, F.conv2d, F.conv3d)


class ShuffledKANConv(KANConv):
    """KANConv whose groups read the maps phi_j(u_c) in the order j C + c, C the channels.

    Group g reads the maps g n, ..., g n + n - 1, n = K C / groups: those of other groups' channels,
    and of some functions only. basis_weight (c_out, c_in/groups, K, *kernel) is the published
    weight (c_out, n, *kernel), cut in two dimensions. The padding must consist of integers.

    Shapes, Raises: as KANConv; ValueError for padding="same" where it is not symmetric, and for
    dropout_position="functions".
    Numerics: training keeps x and the map before the norm; the expansion is computed again.
    Source: torch-conv-kan, KAGNConvNDLayerV2, where the order is a slip; new networks want KANConv.
    """

    def __init__(self, *sizes: Any, **options: Any) -> None:
        super().__init__(*sizes, **options)
        if any(self.geometry.extra):
            raise ValueError(
                "the published group order needs the same padding on both sides; pass an odd "
                "kernel_size or integers."
            )
        if self.dropout_position == "functions":
            raise ValueError(
                "dropout_position='functions' is not made for the published group order; pass "
                "'basis', 'input' or 'output'."
            )

    def branches(self, x: Tensor, centered: bool = False) -> Tensor:
        """The shuffled convolution of phi(u), and the base branch."""
        u = self._drop(x, "basis")
        if self.norm is not None and self.norm_position == "input":
            u = self.norm(u)
        again = torch.is_grad_enabled() and not needs_composition()
        y = checkpoint(self._shuffled, u, use_reentrant=False) if again else self._shuffled(u)
        base = self.base_branch(x)
        return y if base is None else y + base

    def _shuffled(self, u: Tensor) -> Tensor:
        g, num_functions = self.geometry, self.basis.num_functions
        maps = self.basis(u).unflatten(1, (self.c_in, num_functions)).transpose(1, 2).flatten(1, 2)
        weight = self.basis_weight.flatten(1, 2)
        convolve = _CONVS[g.ndim - 1]
        return convolve(maps, weight, None, g.stride, g.padding, g.dilation, g.groups)

    def edge_functions(self, grid: Tensor) -> Tensor:
        raise ValueError(
            "an output in the published group order reads single functions of channels outside its "
            "group, so there is no function per edge; make the layer with legacy=False."
        )
