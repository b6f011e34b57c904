"""Dropout and noise on the maps of a layer."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from conv_kan.ops.maths.dtypes import promote

DROPOUT_KINDS = ("channel", "noise")
_STRENGTH = 0.05
_DROPOUTS: tuple[Callable[..., Tensor], ...] = (
    F.dropout,
    F.dropout1d,
    F.dropout2d,
    F.dropout3d,
)


def drop(x: Tensor, p: float, kind: str) -> Tensor:
    """x with whole channels dropped ("channel") or with noise on a share p of it ("noise").

    Shapes: x (B, C, *S); without S, "channel" drops single values.
    """
    return inject_noise(x, p) if kind == "noise" else _DROPOUTS[x.dim() - 2](x, p, training=True)


def inject_noise(x: Tensor, p: float, strength: float = _STRENGTH) -> Tensor:
    """x + strength m eps s, m ~ Bernoulli(p) and eps ~ N(0, 1) per element.

    s is the unbiased standard deviation of each channel over the batch and the positions, a
    constant for the gradient, which is then that of x; a channel of one value gets no noise.

    Shapes: x (B, C, *S).
    Numerics: computed at least in float32, returned in the dtype of x.
    Source: torch-conv-kan's NoiseInjection, which returns NaN for channels of one value.
    """
    wide = promote(x.detach())
    dims = [d for d in range(x.dim()) if d != 1]
    if x.numel() <= x.shape[1]:
        return x
    deviation = wide.std(dims, keepdim=True)
    mask = torch.rand_like(wide) < p
    return x + (strength * mask * deviation * torch.randn_like(wide)).to(x.dtype)
