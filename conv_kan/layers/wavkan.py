"""Layers with a wavelet of its own for every edge."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from conv_kan.layers.inputs import check_grid
from conv_kan.layers.layer import Layer, mix_groups
from conv_kan.layers.norm import NormLike
from conv_kan.layers.style import Style
from conv_kan.ops.expand_conv import convolution_dtype
from conv_kan.ops.maths.activations import ActivationLike
from conv_kan.ops.maths.checks import check_choice, check_ndim
from conv_kan.ops.maths.geometry import Geometry, make_geometry
from conv_kan.ops.maths.quadrature import gaussian_mean
from conv_kan.ops.maths.wavelets import WAVELETS
from conv_kan.ops.wavelet_conv import wavelet_conv


class WavKANLayer(Layer):
    """What WavKANConv and WavKANLinear share.

    Parameters: wavelet_weight (c_out, c_in/groups, *kernel); scale, translation (c_out,
    c_in/groups); mix_weight (c_out, c_out/groups) if `mix`; base_weight, norm.*, activation.*.
    """

    learned_shapes = ("scale", "translation")  # which weight decay leaves alone
    mix_weight: Tensor | None

    def __init__(
        self,
        c_in: int,
        c_out: int,
        geometry: Geometry,
        style: Style,
        *,
        wavelet: str,
        mix: bool,
    ) -> None:
        super().__init__(c_in, c_out, geometry, style)
        self.wavelet = check_choice("wavelet", wavelet, WAVELETS)
        edges = (c_out, c_in // geometry.groups)
        self.wavelet_weight = nn.Parameter(torch.empty(*edges, *geometry.kernel_size))
        self.scale = nn.Parameter(torch.empty(edges))
        self.translation = nn.Parameter(torch.empty(edges))
        mixing = nn.Parameter(torch.empty(c_out, c_out // geometry.groups)) if mix else None
        self.register_parameter("mix_weight", mixing)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weights anew such that Var(y) = 1 before the norm, for x ~ N(0, 1)."""
        super().reset_parameters()
        nn.init.ones_(self.scale)
        nn.init.zeros_(self.translation)
        variance = self.reset_base()
        if self.mix_weight is not None:
            std = math.sqrt(variance / self.mix_weight.shape[1])
            nn.init.normal_(self.mix_weight, std=std)
            variance = 1.0
        energy = gaussian_mean(lambda x: WAVELETS[self.wavelet](x) ** 2)
        fan_in = self.wavelet_weight[0].numel()
        nn.init.normal_(self.wavelet_weight, std=math.sqrt(variance / (fan_in * energy)))

    def penalized_weights(self) -> list[Tensor]:
        """The weights that an L1 penalty acts on."""
        mixing = [] if self.mix_weight is None else [self.mix_weight]
        return [*super().penalized_weights(), self.wavelet_weight, *mixing]

    @property
    def windowed_weight(self) -> Tensor:
        """wavelet_weight times, for "shannon", a Hamming window over the c_in/groups channels.

        h_c = 0.54 - 0.46 cos(2 pi c / (c_in/groups - 1)): an oddity that published weights need.
        """
        weight = self.wavelet_weight
        if self.wavelet != "shannon":
            return weight
        last = weight.shape[1] - 1  # 0: a window of one channel is 1
        c = torch.arange(last + 1, dtype=weight.dtype, device=weight.device)
        # Written out: torch.hamming_window cannot be exported to ONNX.
        h = 0.54 - 0.46 * torch.cos(2 * math.pi * c / last) if last else torch.ones_like(c)
        return weight * h.view(-1, *[1] * self.geometry.ndim)

    def branches(self, x: Tensor, centered: bool = False) -> Tensor:
        """M v + W_base * base(x)."""
        dtype = convolution_dtype(x, self.wavelet_weight)
        y = wavelet_conv(
            self._drop(x, "basis"),
            self.windowed_weight.to(dtype),
            self.scale,
            self.translation,
            self.mix_weight,
            self.wavelet,
            self.geometry,
            self.backend,
        )
        base = self.base_branch(x)
        return y if base is None else y + base

    def edge_functions(self, grid: Tensor) -> Tensor:
        """f[o, c, *k](t) = sum_p M[o, p] w[p, c, *k] psi((t - tau_pc) / s_pc) + W_base[o, c, *k]
        base(t), the learned function of every edge; see KANConv.edge_functions.

        Shapes: grid (N,) -> (c_out, c_in/groups, *kernel, N).
        Raises: as KANConv.edge_functions.
        """
        check_grid(type(self).__name__, grid, self.wavelet_weight)
        u = (grid - self.translation.unsqueeze(-1)) / self.scale.unsqueeze(-1)
        kernel = self.geometry.kernel_size
        psi = WAVELETS[self.wavelet](u).view(*u.shape[:2], *[1] * len(kernel), len(grid))
        edges = self.windowed_weight.unsqueeze(-1) * psi
        if self.mix_weight is not None:
            edges = mix_groups(self.mix_weight, edges, self.geometry.groups)
        base = self.base_edges(grid)
        return edges if base is None else edges + base

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, wavelet={self.wavelet!r}"


class WavKANConv(WavKANLayer):
    """y = act(norm(M v + W_base * base(x))), v[o] = sum_c w[o, c] * psi((x_c - tau_oc) / s_oc).

    Every edge (o, c) has a wavelet of its own, with learned scale s and translation tau; M mixes
    the outputs within a group (mix=False: y has v itself). wavelet: "mexican_hat", "morlet", "dog",
    "meyer" or "shannon". Zero padding acts on psi and on base(x). dropout as KANConv; "basis" is
    the input of the wavelets. The other arguments are KANConv's.

    Shapes: x (B, c_in, *S) -> y (B, c_out, *S_out), as KANConv. Parameters: wavelet_weight (c_out,
    c_in/groups, *kernel), scale and translation (c_out, c_in/groups), mix_weight (c_out,
    c_out/groups), base_weight (c_out, c_in/groups, *kernel).
    Numerics: as KANConv; training keeps x and the map before the norm. The arithmetic is
    c_out * c_in/groups wavelets per position: about c_out times that of a KANConv.
    Raises: as KANConv; ValueError for an unknown wavelet -> the nearest one.
    Source: Bozorgasl and Chen (2024), "Wav-KAN"; torch-conv-kan, WavKANConv.
    """

    def __init__(
        self,
        c_in: int,
        c_out: int,
        kernel_size: int | Sequence[int],
        *,
        wavelet: str = "mexican_hat",
        mix: bool = True,
        ndim: int = 2,
        base: ActivationLike | None = "silu",
        norm: NormLike = "batch",
        affine: bool = True,
        activation: ActivationLike | None = None,
        groups: int = 1,
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] | str = 0,
        dilation: int | Sequence[int] = 1,
        dropout: float = 0.0,
        dropout_position: str = "basis",
        dropout_kind: str = "channel",
        backend: str = "auto",
    ) -> None:
        check_ndim(ndim, "; see also WavKANLinear")
        super().__init__(
            c_in,
            c_out,
            make_geometry(ndim, kernel_size, stride, padding, dilation, groups),
            Style.of(locals()),
            wavelet=wavelet,
            mix=mix,
        )


class WavKANLinear(WavKANLayer):
    """y = act(norm(sum_c w_oc psi((x_c - tau_oc) / s_oc) + W_base base(x))): WavKANConv without S.

    Shapes: x (..., in_features) -> y (..., out_features).
    Raises: as WavKANConv; ValueError for norm="instance".
    Source: torch-conv-kan, WavKANLayer.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        wavelet: str = "mexican_hat",
        mix: bool = False,
        base: ActivationLike | None = "silu",
        norm: NormLike = "batch",
        affine: bool = True,
        activation: ActivationLike | None = None,
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
            wavelet=wavelet,
            mix=mix,
        )
