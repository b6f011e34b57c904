"""Kolmogorov-Arnold convolution in 1, 2 or 3 dimensions."""

from __future__ import annotations

from collections.abc import Sequence

from conv_kan.bases import Basis
from conv_kan.layers.core import KANLayer
from conv_kan.layers.norm import NormLike
from conv_kan.layers.style import Style
from conv_kan.ops.maths.activations import ActivationLike
from conv_kan.ops.maths.checks import check_ndim
from conv_kan.ops.maths.geometry import make_geometry


class KANConv(KANLayer):
    """y = act(norm(W_basis * phi(u) + W_base * base(x))), `*` a convolution, no bias.

    phi_j are the functions of `basis` (a name, or an instance, which is copied) of every channel,
    scaled; u = x, or norm(x) with norm_position="input" (the norm then acts on nothing else).
    Zero padding acts on the maps phi_j(u_c) and base(x_c): a padded position contributes 0.

    base, activation: names, functions of a tensor or modules without parameters (for which torch
    computes alone), or None for no base branch, no activation; activation "prelu" learns one slope
    per group. norm: "batch", "instance", "group", "layer", None, or a function channels ->
    Module; affine: whether a named norm learns weight and bias. padding: integers or "same".
    dropout acts on u ("basis"), on the maps phi_j(u_c) ("functions"; not the constant ones), on x
    ("input") or on y ("output"): it drops whole channels or maps, or with dropout_kind="noise" adds
    noise to a share of the values (not on "functions").

    Shapes: x (B, c_in, *S) -> y (B, c_out, *S_out), S_out as nn.Conv. Parameters: basis_weight
    (c_out, c_in/groups, K, *kernel), base_weight (c_out, c_in/groups, *kernel).
    Numerics: functions in float32 for inputs in half precision, float64 in float64; the convolution
    in the dtype of x, or autocast's. Training keeps x, the map before the norm and its statistics;
    the expansion is computed again in backward. Initially Var(y) = 1 before the norm for
    x ~ N(0, 1). Differentiable as often as its functions are: a backward pass with
    create_graph=True computes the composition, which keeps the expansion.
    Raises: ValueError for channels not divisible by groups, entries out of range, unknown names,
    functions that are not elementwise, an input of another shape or too small; TypeError for an
    input that is not floating-point or whose dtype is not the weights' outside autocast;
    RuntimeError for one on another device.
    Warns: instance norm at the output without an activation, which cannot learn under global
    average pooling.
    Source: Drokin (2024), "Kolmogorov-Arnold Convolutions", equation 4.
    """

    def __init__(
        self,
        c_in: int,
        c_out: int,
        kernel_size: int | Sequence[int],
        *,
        basis: str | Basis = "gram",
        ndim: int = 2,
        base: ActivationLike | None = "silu",
        norm: NormLike = "batch",
        norm_position: str = "output",
        affine: bool = True,
        activation: ActivationLike | None = "silu",
        groups: int = 1,
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] | str = 0,
        dilation: int | Sequence[int] = 1,
        dropout: float = 0.0,
        dropout_position: str = "basis",
        dropout_kind: str = "channel",
        backend: str = "auto",
    ) -> None:
        check_ndim(ndim, "; for 0 dimensions use KANLinear")
        super().__init__(
            c_in,
            c_out,
            make_geometry(ndim, kernel_size, stride, padding, dilation, groups),
            Style.of(locals()),
            basis=basis,
        )
