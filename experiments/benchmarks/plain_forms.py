"""Layers written in plain torch, as their published code is: what ours may not be slower than.

Each takes the parameters of a layer of ours and computes the same function; autograd keeps what it
needs.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from conv_kan import KAN, EfficientKANLinear, GroupRational, KANLinear
from conv_kan.bases import Gram
from conv_kan.bases.polynomial import Polynomial


class PlainSplines(nn.Module):
    """y = W_base silu(x) + (s W_spline) B(x), splines by the recursion over all of them."""

    def __init__(self, layer: EfficientKANLinear) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        layer, knots, z = self.layer, self.layer.grid, x.unsqueeze(-1)
        B = ((z >= knots[:, :-1]) & (z < knots[:, 1:])).to(x.dtype)
        for q in range(1, layer.order + 1):
            rise = (z - knots[:, : -q - 1]) / (knots[:, q:-1] - knots[:, : -q - 1])
            fall = (knots[:, q + 1 :] - z) / (knots[:, q + 1 :] - knots[:, 1:-q])
            B = rise * B[..., :-1] + fall * B[..., 1:]
        splines = F.linear(B.flatten(1), layer.scaled_weight.flatten(1))
        return F.linear(F.silu(x), layer.base_weight) + splines


class PlainPolynomials(nn.Module):
    """y = silu(norm(W_base silu(x) + W P(tanh x))), layer by layer; P_0 = 1 is a function too."""

    def __init__(self, net: KAN) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.net.layers:
            assert isinstance(layer, KANLinear)
            assert layer.base_weight is not None and layer.norm is not None
            maps = F.linear(_polynomials(layer.basis, x).flatten(1), layer.basis_weight.flatten(1))
            x = F.silu(layer.norm(F.linear(F.silu(x), layer.base_weight) + maps))
        return x


def _polynomials(basis: nn.Module, x: Tensor) -> Tensor:
    """s phi_j(x_c), (B, C, K)."""
    assert isinstance(basis, Polynomial)
    z = torch.tanh(x)
    P = [torch.ones_like(z), z]
    for m in range(2, basis.degree + 1):
        a, b, c = basis.recurrence(m, *basis.shape)
        P.append((a * z + b) * P[-1] - c * P[-2])
    phi = torch.stack(P, dim=-1)
    return basis.scale * (F.silu(phi) if isinstance(basis, Gram) else phi)


class PlainRational(nn.Module):
    """F = P / Q by powers of x, channels last."""

    def __init__(self, layer: GroupRational) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.layer.numerator, self.layer.denominator.abs()
        z = x.unflatten(-1, (len(b), -1))
        powers, P, Q = torch.ones_like(z), a[0], torch.ones_like(z)
        for m in range(1, max(len(a), b.shape[1] + 1)):
            powers = powers * z
            P = P + a[m] * powers if m < len(a) else P
            Q = Q + b[:, m - 1, None] * powers.abs() if m <= b.shape[1] else Q
        return (P / Q).flatten(-2)
