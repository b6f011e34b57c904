"""Self-attention over the positions of an image, its projections given by a layer factory."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from conv_kan.layers.arguments import NamedArguments, check_factory
from conv_kan.layers.inputs import check_input
from conv_kan.layers.norm import NormLike, make_norm, warn_if_features_vanish
from conv_kan.layers.rope import RotaryEmbedding
from conv_kan.ops.maths.checks import check_int, check_ndim
from conv_kan.ops.maths.twice import differentiable_twice

_CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


class SelfAttention(NamedArguments, nn.Module):
    """y = norm(gamma x + out(A v)), A = softmax(q^T k) over positions, one head, no 1 / sqrt(d).

    h = inner_proj(x), a 1x1 convolution to `inner` channels, or x if inner is None; q, k, v =
    layer(d, d)(h) with d = inner or channels; `out` is a 1x1 convolution back, or the identity.
    gamma multiplies the skip connection and is 0 at first, as in published weights. With
    rope="mixed" or "axial", q and k are rotated by their positions first (see RotaryEmbedding;
    rope_legacy as published).

    Shapes: x, y (B, channels, *S) with ndim dimensions S. A (positions, positions) per sample is
    not held in memory where torch has a fused attention.
    Raises: ValueError where `layer` changes the size of the image -> pass padding=kernel_size // 2;
    for an unknown rope, and d not divisible by 2 ndim with one; for an input of another shape.
    TypeError for integers.
    Warns: of an instance norm, behind which a network that ends here cannot learn.
    Source: Zhang et al. (2019), "Self-Attention GANs", with gamma on the other term
    (torch-conv-kan).
    """

    def __init__(
        self,
        channels: int,
        *,
        layer: Callable[[int, int], nn.Module],
        ndim: int = 2,
        inner: int | None = None,
        norm: NormLike = "batch",
        affine: bool = True,
        rope: str | None = None,
        rope_theta: float = 10.0,
        rope_legacy: bool = False,
    ) -> None:
        super().__init__()
        check_int("channels", channels, 1)
        check_factory("layer", layer, "lambda c_in, c_out: KANConv(c_in, c_out, 1)")
        check_ndim(ndim)
        dims = channels if inner is None else check_int("inner", inner, 1)
        conv = _CONVS[ndim - 1]
        self.inner_proj = nn.Identity() if inner is None else conv(channels, dims, 1)
        self.outer_proj = nn.Identity() if inner is None else conv(dims, channels, 1)
        self.proj_q, self.proj_k, self.proj_v = (layer(dims, dims) for _ in range(3))
        self.rope = None
        if rope is not None:
            self.rope = RotaryEmbedding(
                dims, ndim=ndim, mode=rope, theta=rope_theta, legacy=rope_legacy
            )
        self.channels, self.ndim = channels, ndim
        self.gamma = nn.Parameter(torch.zeros(1))
        self.norm = make_norm(norm, channels, ndim, affine)
        warn_if_features_vanish(self.norm, stacklevel=2)

    def forward(self, x: Tensor) -> Tensor:
        check_input("SelfAttention", x, self.channels, self.ndim)
        h = self.inner_proj(x)
        q, k, v = (
            _tokens(projection(h), h) for projection in (self.proj_q, self.proj_k, self.proj_v)
        )
        if self.rope is not None:
            q, k = (self.rope(tokens, h.shape[2:]) for tokens in (q, k))
        # The fused kernels ask for a dimension of heads, and for channels side by side.
        q, k, v = (tokens.unsqueeze(1).contiguous() for tokens in (q, k, v))
        out = differentiable_twice(_fused_attention, _attention, q, k, v).squeeze(1)
        out = self.outer_proj(out.transpose(1, 2).reshape(h.shape))
        y = self.gamma * x + out
        return y if self.norm is None else self.norm(y)


def _fused_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(q, k, v, scale=1.0)


def _attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(q k^T) v."""
    return torch.softmax(q @ k.transpose(-1, -2), dim=-1) @ v


def _tokens(projected: Tensor, h: Tensor) -> Tensor:
    """(B, d, *S) -> (B, positions, d)."""
    if projected.shape != h.shape:
        raise ValueError(
            f"the attention layer maps {tuple(h.shape)} to {tuple(projected.shape)} but must keep "
            "channels and size; pass padding=kernel_size // 2 and stride=1 in the layer factory."
        )
    return projected.flatten(2).transpose(1, 2)
