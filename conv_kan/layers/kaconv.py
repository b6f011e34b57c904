"""A convolution with a function for every channel and tap, and many maps of each channel."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from conv_kan.layers.arguments import NamedArguments
from conv_kan.layers.inputs import check_grid, check_images
from conv_kan.layers.norm import NormLike, make_norm
from conv_kan.ops.expand_conv import convolution_dtype
from conv_kan.ops.maths.checks import check_int, check_ndim
from conv_kan.ops.maths.geometry import make_geometry
from conv_kan.ops.maths.norms import subtracts_means
from conv_kan.ops.mixed_maps import MapWeights, mixed_maps

_INITIAL_SLOPE = 0.2


class KAConv(NamedArguments, nn.Module):
    """y = M prelu(norm(z)) + d, z_co = U_co * silu(x_c) + sum_k w_cok g_ck(x_c(. + k)) + b_co.

    Every channel c becomes `multiplier` maps o (2 K + 1 of them unless told, K taps k), which M
    mixes at every position. g_ck(t) = p_ck t for t >= 0 and n_ck t for t < 0, plus q_ck: one
    function for every channel and tap. x is padded with zeros, where g_ck is q_ck; so q adds the
    same to all of a map, and z is a convolution of each channel's silu(x), max(x, 0) and min(x, 0),
    whose last two kernels are w p and w n. No window is copied.

    norm acts on the maps: as in KANConv. Other arguments are KANConv's.

    Shapes: x (B, c_in, *S) -> y (B, c_out, *S_out). Parameters, with m = multiplier: silu_weight
    (c_in m, 1, *kernel), line_weight (c_in m, K), silu_bias and line_bias (c_in m,), whose sum is
    b; positive_slope p, negative_slope n and offset q (c_in, K); slope of the PReLU (c_in m,);
    mix_weight M (c_out, c_in m), mix_bias d (c_out,).
    Numerics: silu, max and min at least in float32, the convolutions in the dtype of x, or
    autocast's. Training keeps x alone and computes the maps again, a few channels at a time, if the
    norm is a batch norm or None; another norm keeps its maps. Before a norm that subtracts means, b
    and q have no effect, and their gradients are exactly 0. The gradient at x = 0 is that from the
    right.
    Raises: ValueError for channels or a multiplier < 1, entries out of range, an unknown norm, an
    input of another shape or too small; TypeError for an input that is not floating-point or whose
    dtype is not the weights' outside autocast; RuntimeError for one on another device.
    Source: KAConvNet (Image and Vision Computing, 2026), which copies the K values of every window
    and takes square images only.
    """

    learned_shapes = ("positive_slope", "negative_slope", "offset")  # which weight decay leaves

    def __init__(
        self,
        c_in: int,
        c_out: int,
        kernel_size: int | Sequence[int],
        *,
        multiplier: int | None = None,
        ndim: int = 2,
        norm: NormLike = "batch",
        affine: bool = True,
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] | str = 0,
        dilation: int | Sequence[int] = 1,
    ) -> None:
        super().__init__()
        check_ndim(ndim)
        self.c_in, self.c_out = check_int("c_in", c_in, 1), check_int("c_out", c_out, 1)
        self.geometry = make_geometry(ndim, kernel_size, stride, padding, dilation, c_in)
        taps = math.prod(self.geometry.kernel_size)
        given = 2 * taps + 1 if multiplier is None else multiplier
        self.multiplier = check_int("multiplier", given, 1)
        maps = c_in * self.multiplier
        self.silu_weight = nn.Parameter(torch.empty(maps, 1, *self.geometry.kernel_size))
        self.line_weight = nn.Parameter(torch.empty(maps, taps))
        self.silu_bias, self.line_bias = (nn.Parameter(torch.empty(maps)) for _ in range(2))
        self.positive_slope, self.negative_slope, self.offset = (
            nn.Parameter(torch.empty(c_in, taps)) for _ in range(3)
        )
        self.norm = make_norm(norm, maps, ndim, affine)
        self.slope = nn.Parameter(torch.empty(maps))
        self.mix_weight = nn.Parameter(torch.empty(c_out, maps))
        self.mix_bias = nn.Parameter(torch.empty(c_out))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weights anew, as published: those of convolutions as torch does."""
        for parameter, fan_in in (
            (self.silu_weight, self.line_weight.shape[1]),
            (self.silu_bias, self.line_weight.shape[1]),
            (self.line_weight, self.line_weight.shape[1]),
            (self.line_bias, self.line_weight.shape[1]),
            (self.mix_weight, self.mix_weight.shape[1]),
            (self.mix_bias, self.mix_weight.shape[1]),
        ):
            nn.init.uniform_(parameter, -1.0 / math.sqrt(fan_in), 1.0 / math.sqrt(fan_in))
        nn.init.normal_(self.positive_slope, std=0.5)
        nn.init.normal_(self.negative_slope, std=0.5)
        nn.init.uniform_(self.offset, 0.0, 0.1)
        nn.init.constant_(self.slope, _INITIAL_SLOPE)
        reset = getattr(self.norm, "reset_parameters", None)
        if reset is not None:
            reset()

    def forward(self, x: Tensor, *, centered: bool = False) -> Tensor:
        """y of x; `centered` if what follows subtracts the mean of every output, as a norm does."""
        check_images(type(self).__name__, x, self.c_in, self.geometry, self.silu_weight)
        norm = self.norm
        weights = MapWeights(
            self._kernel(),
            self._bias(norm is not None and subtracts_means(norm)),
            self.slope,
            self.mix_weight,
            *(getattr(norm, name, None) for name in ("weight", "bias")),
        )
        dtype = convolution_dtype(x, self.silu_weight)
        y = mixed_maps(x, weights, norm, geometry=self.geometry, dtype=dtype)
        bias = _without_gradient(self.mix_bias) if centered else self.mix_bias
        return y + bias.to(y.dtype).view(-1, *[1] * self.geometry.ndim)

    def _kernel(self) -> Tensor:
        """(U, w p, w n), (c_in m, 3, *kernel)."""
        lines = [self.line_weight * self._of_maps(t) for t in self._slopes()]
        kernel = torch.stack([self.silu_weight.flatten(1), *lines], dim=1)
        return kernel.unflatten(2, self.geometry.kernel_size)

    def _bias(self, has_no_effect: bool) -> Tensor:
        """b + sum_k w_k q_k, (c_in m,)."""
        offset = (self.line_weight * self._of_maps(self.offset)).sum(1)
        bias = self.silu_bias + self.line_bias + offset
        return _without_gradient(bias) if has_no_effect else bias

    def _slopes(self) -> tuple[Tensor, Tensor]:
        return self.positive_slope, self.negative_slope

    def _of_maps(self, per_channel: Tensor) -> Tensor:
        """(c_in, K) -> (c_in m, K)."""
        return per_channel.repeat_interleave(self.multiplier, dim=0)

    def penalized_weights(self) -> list[Tensor]:
        """The weights that an L1 penalty acts on."""
        return [self.silu_weight, self.line_weight, self.mix_weight]

    def edge_functions(self, grid: Tensor) -> Tensor:
        """f[co, 0, *k](t) = U_cok silu(t) + w_cok g_ck(t), the learned function of every edge.

        Before the norm, map co is the sum over k of f[co, 0, *k] of the values in the window, with
        0 for a padded one, plus b.

        Shapes: grid (N,) -> (c_in m, 1, *kernel, N).
        Raises: as KANConv.edge_functions.
        """
        check_grid(type(self).__name__, grid, self.silu_weight)
        positive, negative = (t.unsqueeze(-1) for t in self._slopes())
        g = torch.where(grid < 0, negative * grid, positive * grid) + self.offset.unsqueeze(-1)
        lines = self.line_weight.unsqueeze(-1) * g.repeat_interleave(self.multiplier, dim=0)
        silu = self.silu_weight.unsqueeze(-1) * F.silu(grid)
        return silu + lines.view(silu.shape)

    def extra_repr(self) -> str:
        g = self.geometry
        return (
            f"{self.c_in}, {self.c_out}, kernel_size={g.kernel_size}, stride={g.stride}, "
            f"padding={g.padding}, dilation={g.dilation}, multiplier={self.multiplier}"
        )


def _without_gradient(bias: Tensor) -> Tensor:
    """A bias whose gradient is 0: not none, which distributed training would miss."""
    return bias + (bias.detach() - bias)
