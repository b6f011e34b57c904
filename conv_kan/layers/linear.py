"""Kolmogorov-Arnold linear layer and the multilayer network of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from conv_kan.bases import Basis
from conv_kan.layers.core import KANLayer
from conv_kan.layers.norm import NormLike
from conv_kan.layers.style import Style
from conv_kan.ops.maths.activations import ActivationLike
from conv_kan.ops.maths.checks import check_probability
from conv_kan.ops.maths.geometry import Geometry


class KANLinear(KANLayer):
    """y = act(norm(sum_{c,j} W_basis[o,c,j] phi_j(u_c) + sum_c W_base[o,c] base(x_c) + b_o)).

    KANConv without spatial dimensions, and with the same arguments; b exists if `base_bias`.
    Shapes: x (..., in_features) -> y (..., out_features). Parameters: basis_weight (out, in, K),
    base_weight (out, in), base_bias (out,).
    Numerics, Raises: as KANConv; ValueError also for norm="instance".
    Source: Liu et al. (2024), "KAN: Kolmogorov-Arnold Networks", equation 2.10.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        basis: str | Basis = "gram",
        base: ActivationLike | None = "silu",
        base_bias: bool = False,
        norm: NormLike = "layer",
        norm_position: str = "output",
        affine: bool = True,
        activation: ActivationLike | None = "silu",
        dropout: float = 0.0,
        dropout_position: str = "basis",
        dropout_kind: str = "channel",
        backend: str = "auto",
    ) -> None:
        super().__init__(
            in_features,
            out_features,
            Geometry(),
            Style.of(locals()),
            basis=basis,
            base_bias=base_bias,
        )


class KAN(nn.Module):
    """A stack of KANLinear layers: sizes[0] -> sizes[1] -> ... -> sizes[-1].

    `layer` arguments (basis, base, norm, activation, ...) go to every KANLinear, or to what
    `linear` makes instead of it; `dropout` acts on the input of every layer but the first, and of
    the first too with first_dropout=True.
    Shapes: x (..., sizes[0]) -> y (..., sizes[-1]). Parameters: layers.{i}.*.
    Raises: ValueError for fewer than two sizes, and for a dropout that would act nowhere.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        *,
        dropout: float = 0.0,
        first_dropout: bool = False,
        linear: Callable[..., nn.Module] = KANLinear,
        **layer: Any,
    ) -> None:
        super().__init__()
        check_sizes(sizes)
        check_probability("dropout", dropout)
        if dropout and len(sizes) == 2 and not first_dropout:
            raise ValueError(
                f"dropout={dropout} acts between layers but sizes={list(sizes)} has one layer; "
                "pass first_dropout=True or dropout=0."
            )
        self.layers = nn.ModuleList(
            linear(
                n_in,
                n_out,
                dropout=dropout if i > 0 or first_dropout else 0.0,
                dropout_position="input",
                **layer,
            )
            for i, (n_in, n_out) in enumerate(pairwise(sizes))
        )

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


def check_sizes(sizes: Sequence[int]) -> None:
    """Raise ValueError or TypeError unless a network of these sizes has a layer."""
    if isinstance(sizes, str) or not isinstance(sizes, Sequence):
        raise TypeError(f"sizes={sizes!r} must be a list of sizes; pass for example [784, 64, 10].")
    if len(sizes) < 2:
        raise ValueError(
            f"sizes={list(sizes)} needs an input and an output size; pass [784, 64, 10]."
        )
