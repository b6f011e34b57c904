"""The group rational and its gradient.

    dF/dx   = (P' - Q' F) / Q
    dF/da_m = x^m |x|^-E / Q
    dF/db_m = -sgn(b_m) |x|^(m-E) F / Q

P and Q divided by |x|^E, E = e for |x| > 1, else 0, as in conv_kan.ops.maths.rational; sgn(0) = 1:
a coefficient that starts at 0 can leave it.
Shapes: x (N, G, M), numerator a (n + 1,), denominator b (G, d).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from conv_kan.ops.maths.dtypes import working_dtype
from conv_kan.ops.maths.rational import Shifted, horner, quotient, shift, slope


def rational(x: Tensor, numerator: Tensor, denominator: Tensor) -> Tensor:
    """F, differentiably."""
    wide = working_dtype(x)
    return quotient(x.to(wide), numerator.to(wide), denominator.to(wide), _column).to(x.dtype)


def rational_backward(
    grad_y: Tensor,
    x: Tensor,
    numerator: Tensor,
    denominator: Tensor,
    needs: Sequence[bool],
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Gradients of x, numerator and denominator, where `needs` asks for them."""
    wide = working_dtype(x)
    z, grad = x.to(wide), grad_y.to(wide)
    a, b = numerator.to(wide), denominator.to(wide)
    outside, shifted = z.abs() > 1.0, shift(a, b)
    inside = torch.where(outside, 0.0, z)
    far = torch.where(outside, z, 1.0)
    F, dF, inverse = (
        torch.where(outside, o, i)
        for o, i in zip(_outside(far, shifted), _inside(inside, a, b), strict=True)
    )
    F = F + (z - z)  # NaN at infinities
    grad_x = (dF * grad).to(x.dtype) if needs[0] else None
    grad_a = grad_b = None
    weight = inverse * grad
    near, rest = torch.where(outside, 0.0, weight), torch.where(outside, weight, 0.0)
    if needs[1]:
        sign = torch.where((far < 0) & (_column(shifted.odd) > 0), -1.0, 1.0)
        sums = _power_sums(inside, near, len(a))
        sums = sums + _shifted_sums(far, rest, sign, shifted.e, len(a), b.shape[1])
        grad_a = sums.sum(0).to(numerator.dtype)
    if needs[2]:
        count = b.shape[1] + 1
        sums = _power_sums(inside.abs(), near * F, count)
        sums = sums + _shifted_sums(far.abs(), rest, F, shifted.e, count, b.shape[1])
        grad_b = (sums[:, 1:] * torch.where(b >= 0, -1.0, 1.0)).to(denominator.dtype)
    return grad_x, grad_a, grad_b


def _inside(x: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """F, its slope and 1 / Q for |x| <= 1."""
    size, one = x.abs(), torch.ones_like(b[:, 0])
    q = list(map(_column, (one, *b.abs().unbind(1))))
    inverse = 1.0 / horner(size, q)
    F = horner(x, a.unbind()) * inverse
    dQ = slope(size, q)
    return F, (slope(x, a.unbind()) - torch.where(x < 0, -dQ, dQ) * F) * inverse, inverse


def _outside(x: Tensor, shifted: Shifted) -> tuple[Tensor, Tensor, Tensor]:
    """The same for |x| > 1, where Q is divided by |x|^e."""
    w = 1.0 / x
    v = w.abs()
    top, low, bottom = (list(map(_column, t.unbind(1))) for t in shifted[2:5])
    sign = torch.where((x < 0) & (_column(shifted.odd) > 0), -1.0, 1.0)
    inverse, rest = 1.0 / horner(v, bottom), horner(w, low)
    F = sign * (horner(x, top) + w * rest) * inverse
    dP = sign * (slope(x, top) - w * w * (rest + w * slope(w, low)))
    dQ = v * v * slope(v, bottom)
    return F, (dP + torch.where(x < 0, -dQ, dQ) * F) * inverse, inverse


def _column(values: Tensor) -> Tensor:
    """(G,) such that it broadcasts with (N, G, M)."""
    return values.unsqueeze(1)


def _power_sums(x: Tensor, weight: Tensor, count: int) -> Tensor:
    """sum over N and M of weight x^k, k < count: (G, count)."""
    sums = []
    for k in range(count):
        weight = weight if k == 0 else weight * x
        sums.append(weight.sum((0, 2)))
    return torch.stack(sums, dim=1)


def _shifted_sums(
    x: Tensor, weight: Tensor, factor: Tensor, e: Tensor, count: int, d: int
) -> Tensor:
    """sum over N and M of weight factor x^(m - e), m < count: (G, count)."""
    w = 1.0 / x
    falling = _power_sums(w, weight * w * factor, d).flip(1)  # powers -d, ..., -1
    sums = torch.cat([falling, _power_sums(x, weight * factor, count)], dim=1)
    m = torch.arange(count, device=x.device)
    return sums.gather(1, d + m - e.unsqueeze(1))
