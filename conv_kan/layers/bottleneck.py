"""A KAN layer between two pointwise projections: squeeze, transform, expand."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from torch import Tensor, nn

from conv_kan.bases import Basis
from conv_kan.layers.conv import KANConv
from conv_kan.layers.core import KANLayer
from conv_kan.layers.layer import Layer, mix_groups, scale_outputs_
from conv_kan.layers.linear import KANLinear
from conv_kan.layers.norm import NormLike
from conv_kan.layers.style import Style
from conv_kan.layers.wavkan import WavKANLayer
from conv_kan.ops.layout import to_fastest_format, to_format
from conv_kan.ops.maths.activations import ActivationLike
from conv_kan.ops.maths.checks import check_int, check_ndim
from conv_kan.ops.maths.geometry import Geometry, make_geometry
from conv_kan.ops.maths.memory import memory_format

_CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_Pointwise = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d


def inner_channels(c_in: int, c_out: int, reduction: float, min_inner: int) -> int:
    """floor(max(c_in, c_out) / reduction), but not below min(min_inner, c_in, c_out)."""
    if not reduction >= 1:
        raise ValueError(f"reduction={reduction!r} must be at least 1; pass for example 4.")
    check_int("min_inner", min_inner, 1)
    inner = int(max(c_in, c_out) / reduction)
    return inner if inner >= min_inner else min(min_inner, c_in, c_out)


class BottleneckLayer(Layer):
    """What Bottleneck and BottleneckLinear share.

    Parameters: squeeze.* and expand.* of the projections, inner.* of the inner layer, base_weight,
    norm.*, activation.*.
    """

    def __init__(
        self,
        c_in: int,
        c_out: int,
        geometry: Geometry,
        style: Style,
        *,
        inner: Callable[[int], nn.Module],
        per_group: int,
        projection_bias: bool,
    ) -> None:
        super().__init__(c_in, c_out, geometry, style)
        channels = per_group * geometry.groups
        self.squeeze = _pointwise(c_in, channels, geometry, projection_bias)
        self.inner = inner(channels)
        self.expand = _pointwise(channels, c_out, geometry, projection_bias)
        self._reset_projections()

    def _reset_projections(self) -> None:
        """Var(u) = 1 for u = squeeze(x), and Var(y) = 1 if Var(inner(u)) = 1."""
        super().reset_parameters()
        for projection, variance in ((self.squeeze, 1.0), (self.expand, self.reset_base())):
            fan_in = projection.weight[0].numel()
            nn.init.normal_(projection.weight, std=math.sqrt(variance / fan_in))
            if projection.bias is not None:
                nn.init.zeros_(projection.bias)

    def reset_parameters(self) -> None:
        """Draw the weights anew such that Var(y) is near 1 before the norm, for x ~ N(0, 1)."""
        self._reset_projections()
        for module in self.inner.modules():
            if isinstance(module, Layer):
                module.reset_parameters()

    def branches(self, x: Tensor, centered: bool = False) -> Tensor:
        """expand(inner(squeeze(x))) + W_base * base(x)."""
        moved = to_fastest_format(x, self.squeeze.weight, self.backend)
        # A constant per inner channel is one per output: the projection is linear.
        says = {"centered": centered} if isinstance(self.inner, Layer) else {}
        y = self.expand(self.inner(self.squeeze(moved), **says))
        base = self.base_branch(moved)
        y = y if base is None else y + base
        return y if moved is x else to_format(y, memory_format(x))

    def absorb(self, factor: Tensor, shift: Tensor) -> bool:
        weights = self.expand.weight, self.base_weight
        self.expand.bias = scale_outputs_(weights, self.expand.bias, factor, shift)
        return True

    def edge_functions(self, grid: Tensor) -> Tensor:
        """f[o, c, *k](t) = sum_p W_expand[o, p] g[p, c, *k](t), g the edges of the inner layer.

        These are functions of the squeezed channels u = W_squeeze x. Before the norm, y[o] is the
        sum over c and k of f[o, c, *k] of the values of u in the window, plus the base branch,
        whose edges `base_edges` gives as functions of x, plus the biases of the projections.

        Shapes: grid (N,) -> (c_out, inner/groups, *kernel, N).
        Raises: TypeError for an inner layer without functions of its own (a mixture).
        """
        if not isinstance(self.inner, KANLayer | WavKANLayer):
            raise TypeError(
                f"{type(self.inner).__name__} inside {type(self).__name__} has no edge functions "
                "of its own; ask the layers that it holds."
            )
        edges = self.inner.edge_functions(grid)
        return mix_groups(self.expand.weight.flatten(1), edges, self.geometry.groups)


class Bottleneck(BottleneckLayer):
    """y = act(norm(W_expand inner(W_squeeze x) + W_base * base(x))).

    W_squeeze and W_expand are 1x1 convolutions to and from `inner_channels(c_in / groups,
    c_out / groups, reduction, min_inner)` channels in each group; `inner` is layer(c, c,
    kernel_size, basis=basis, base=None, norm=None, activation=None, ndim=..., groups=...,
    stride=..., padding=..., dilation=...), a KANConv by default; pass a function with these
    arguments for another layer, for example a mixture of experts. It is also given `backend`,
    unless that is "auto". dropout acts on x: it drops whole
    channels, or with dropout_kind="noise" adds noise to a share of the values.

    Shapes: x (B, c_in, *S) -> y (B, c_out, *S_out), as KANConv.
    Numerics: training keeps x, the map before the norm, and the inner layer's input and output,
    which have the inner channels.
    Raises: ValueError for reduction < 1, min_inner < 1, and as KANConv.
    Source: torch-conv-kan, BottleNeckKAGNConv and BottleNeckReLUKANConv.
    """

    def __init__(
        self,
        c_in: int,
        c_out: int,
        kernel_size: int | Sequence[int],
        *,
        basis: str | Basis = "gram",
        layer: Callable[..., nn.Module] = KANConv,
        ndim: int = 2,
        reduction: float = 4.0,
        min_inner: int = 16,
        base: ActivationLike | None = "silu",
        norm: NormLike = "batch",
        affine: bool = True,
        activation: ActivationLike | None = "silu",
        groups: int = 1,
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] | str = 0,
        dilation: int | Sequence[int] = 1,
        dropout: float = 0.0,
        dropout_kind: str = "channel",
        backend: str = "auto",
    ) -> None:
        check_ndim(ndim, "; see also BottleneckLinear")
        style = Style.of(locals(), dropout_position="input")
        geometry = make_geometry(ndim, kernel_size, stride, padding, dilation, groups)

        def inner(channels: int) -> nn.Module:
            return layer(
                channels, channels, kernel_size, basis=basis, base=None, norm=None,
                activation=None, ndim=ndim, groups=groups, stride=stride, padding=padding,
                dilation=dilation, **_chosen(backend),
            )  # fmt: skip

        super().__init__(
            c_in,
            c_out,
            geometry,
            style,
            inner=inner,
            per_group=inner_channels(c_in // groups, c_out // groups, reduction, min_inner),
            projection_bias=False,
        )


class BottleneckLinear(BottleneckLayer):
    """Bottleneck without spatial dimensions, whose projections have biases.

    `layer` is called as layer(c, c, basis=basis, base=None, norm=None, activation=None), and with
    `backend` unless that is "auto".
    Shapes: x (..., in_features) -> y (..., out_features).
    Raises: as Bottleneck; ValueError for norm="instance".
    Source: torch-conv-kan, BottleNeckGRAMLayer.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        basis: str | Basis = "gram",
        layer: Callable[..., nn.Module] = KANLinear,
        reduction: float = 8.0,
        min_inner: int = 16,
        base: ActivationLike | None = "silu",
        norm: NormLike = "layer",
        affine: bool = True,
        activation: ActivationLike | None = "silu",
        dropout: float = 0.0,
        dropout_kind: str = "channel",
        backend: str = "auto",
    ) -> None:
        style = Style.of(locals(), dropout_position="input")

        def inner(channels: int) -> nn.Module:
            return layer(
                channels, channels, basis=basis, base=None, norm=None, activation=None,
                **_chosen(backend),
            )  # fmt: skip

        super().__init__(
            in_features,
            out_features,
            Geometry(),
            style,
            inner=inner,
            per_group=inner_channels(in_features, out_features, reduction, min_inner),
            projection_bias=True,
        )


def _chosen(backend: str) -> dict[str, str]:
    """The backend as an argument of the inner layer, which need not take one to be "auto"."""
    return {} if backend == "auto" else {"backend": backend}


def _pointwise(c_in: int, c_out: int, geometry: Geometry, bias: bool) -> _Pointwise:
    """A linear map of the channels at every position, in groups."""
    if geometry.ndim == 0:
        return nn.Linear(c_in, c_out, bias=bias)
    return _CONVS[geometry.ndim - 1](c_in, c_out, 1, groups=geometry.groups, bias=bias)
