"""Initial attention that looks like a trained one."""

from __future__ import annotations

import torch
from timm.layers import Attention
from torch import Tensor, nn

_PRODUCT, _VALUE = (0.7, 0.7), (0.4, -0.4)  # noise and identity in the two matrices


def draw_attention(attention: Attention) -> None:
    """Draw queries and keys near a multiple of the identity, values and projection near another.

        W_q^T W_k of a head: A = 0.7 Z + 0.7 I = U S V^T, a Z for each head,
            W_q = (U sqrt(S))[:, :d]^T,  W_k = (V sqrt(S))[:, :d]^T
        W_v, W_proj: A = 0.4 Z - 0.4 I,  W_v = U sqrt(S),  W_proj = sqrt(S) V^T

    with Z uniform on +-sqrt(3 / D): variance 1 / D. Biases are left as they are. d: channels of a
    head, D: of a token.

    Source: Trockman and Kolter (2023), "Mimetic initialization of self-attention layers", as KAT
    has it.
    """
    weight, heads = attention.qkv.weight, attention.num_heads
    width = weight.shape[1]
    if weight.device.type == "meta":
        return
    with torch.no_grad():
        parts = weight.view(3, heads, width // heads, width)
        for head in range(heads):
            left, right = _factors(width, *_PRODUCT, weight)
            parts[0, head] = left[:, : width // heads].T
            parts[1, head] = right[: width // heads]
        left, right = _factors(width, *_VALUE, weight)
        weight[2 * width :] = left
        attention.proj.weight.copy_(right)


def _factors(width: int, noise: float, identity: float, like: Tensor) -> tuple[Tensor, Tensor]:
    """(U sqrt(S), sqrt(S) V^T) of noise Z + identity I."""
    z = nn.init.uniform_(torch.empty(width, width, device=like.device), -1, 1) * (3 / width) ** 0.5
    u, s, vt = torch.linalg.svd(noise * z + identity * torch.eye(width, device=like.device))
    return u * s.sqrt(), s.sqrt()[:, None] * vt
