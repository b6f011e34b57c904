"""Focal modulation with layers from a factory."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from conv_kan.layers.arguments import NamedArguments, check_factory
from conv_kan.layers.conv import KANConv
from conv_kan.layers.inputs import check_input
from conv_kan.layers.norm import NormLike, make_norm
from conv_kan.ops.maths.checks import check_int, check_ndim

_CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


class FocalModulation(NamedArguments, nn.Module):
    """y = proj(norm(q h(m))), m = sum_l c_l g_l + g_L mean(sum_l c_l g_l), l < L = levels.

    [q, c_{-1}, g] = f(x), f: channels -> 2 channels + L + 1 maps, c_l = focal_l(c_{l-1}); with
    normalize, m is divided by L + 1; `mean` is over the positions. f, h and proj are
    layer(c_in, c_out, 1, ndim=ndim); focal_l is depthwise: layer(channels, channels, kernel,
    ndim=ndim, groups=channels, padding=kernel // 2), kernel = window + factor * l. `layer` has
    KANConv's arguments: pass functools.partial(KANConv, basis="rbf"). With full=False f and h are
    plain 1x1 convolutions with bias. norm=None leaves the norm out.

    Shapes: x, y (B, channels, *S).
    Raises: ValueError for levels < 1, an even window or an odd factor (they would change the size
    of the image), an unknown norm, an input of another shape; what the layers raise. TypeError for
    integers.
    Source: Yang et al. (2022), "Focal Modulation Networks", which pools c_{L-1} instead of the
    gated sum; torch-conv-kan, whose depthwise layers read the wrong channels.
    """

    def __init__(
        self,
        channels: int,
        *,
        layer: Callable[..., nn.Module] = KANConv,
        ndim: int = 2,
        window: int = 3,
        levels: int = 2,
        factor: int = 2,
        normalize: bool = True,
        full: bool = True,
        norm: NormLike = "batch",
        affine: bool = True,
    ) -> None:
        super().__init__()
        check_int("channels", channels, 1)
        check_factory("layer", layer, "functools.partial(KANConv, basis='rbf')")
        check_int("levels", levels, 1)
        check_ndim(ndim)
        kernels = [window + factor * level for level in range(levels)]
        for kernel in kernels:
            if kernel < 1 or kernel % 2 == 0:
                raise ValueError(
                    f"window={window} and factor={factor} give kernels of sizes {kernels}, which "
                    "must be odd and positive to keep the size; pass for example 3 and 2."
                )
        self.channels, self.ndim, self.levels, self.normalize = channels, ndim, levels, normalize
        in_layer = partial(layer, ndim=ndim)
        pointwise: Callable[..., nn.Module] = in_layer if full else _CONVS[ndim - 1]
        self.f = pointwise(channels, 2 * channels + levels + 1, 1)
        self.h = pointwise(channels, channels, 1)
        self.proj = in_layer(channels, channels, 1)
        self.focal_layers = nn.ModuleList(
            in_layer(channels, channels, kernel, groups=channels, padding=kernel // 2)
            for kernel in kernels
        )
        self.norm = make_norm(norm, channels, ndim, affine)

    def forward(self, x: Tensor) -> Tensor:
        check_input("FocalModulation", x, self.channels, self.ndim)
        q, context, gates = self.f(x).split((self.channels, self.channels, self.levels + 1), dim=1)
        modulator = torch.zeros_like(context)
        for level, focal in enumerate(self.focal_layers):
            context = focal(context)
            modulator = modulator + context * gates[:, level : level + 1]
        mean = modulator.mean(dim=tuple(range(2, x.dim())), keepdim=True)
        modulator = modulator + mean * gates[:, self.levels :]
        if self.normalize:
            modulator = modulator / (self.levels + 1)
        out = q * self.h(modulator)
        return self.proj(out if self.norm is None else self.norm(out))

    def extra_repr(self) -> str:
        return f"{self.channels}, levels={self.levels}, normalize={self.normalize}"
