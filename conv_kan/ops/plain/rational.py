"""The group rational and its gradient.

    F = P / Q,  P = sum_{m=0..n} a_m x^m,  Q = 1 + sum_{m=1..d} |b_m| |x|^m
    dF/dx   = P' / Q - S F / Q,  S = sgn(x) sum_m m |b_m| |x|^(m-1)
    dF/da_m = x^m / Q
    dF/db_m = -sgn(b_m) |x|^m F / Q

with sgn(0) = 1: a coefficient that starts at 0 can leave it.
Shapes: x (N, G, M), numerator a (n + 1,), denominator b (G, d).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from conv_kan.ops.maths.dtypes import working_dtype
from conv_kan.ops.maths.rational import horner, quotient


def rational(x: Tensor, numerator: Tensor, denominator: Tensor) -> Tensor:
    """F, differentiably."""
    wide = working_dtype(x)
    a, b = _columns(numerator.to(wide), denominator.to(wide))
    return quotient(x.to(wide), a, b).to(x.dtype)


def rational_backward(
    grad_y: Tensor,
    x: Tensor,
    numerator: Tensor,
    denominator: Tensor,
    needs: Sequence[bool],
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Gradients of x, numerator and denominator, where `needs` asks for them."""
    wide = working_dtype(x)
    a, b = _columns(numerator.to(wide), denominator.to(wide))
    z, grad = x.to(wide), grad_y.to(wide)
    size, b_sizes = z.abs(), [c.abs() for c in b]
    inverse = 1.0 / (horner(size, [torch.zeros_like(b[0]), *b_sizes]) + 1.0)
    value = horner(z, a) * inverse
    grad_x = grad_a = grad_b = None
    if needs[0]:
        slope = horner(z, [m * c for m, c in enumerate(a) if m])
        bend = horner(size, [m * c for m, c in enumerate(b_sizes, start=1)])
        slope = slope - torch.where(z >= 0, bend, -bend) * value
        grad_x = (slope * inverse * grad).to(x.dtype)
    inverse = inverse * grad
    if needs[1]:
        grad_a = _power_sums(z, inverse, len(a)).sum(0).to(numerator.dtype)
    if needs[2]:
        sums = _power_sums(size, inverse * value * size, len(b))
        signs = torch.where(denominator >= 0, -1.0, 1.0)
        grad_b = (sums * signs).to(denominator.dtype)
    return grad_x, grad_a, grad_b


def _columns(numerator: Tensor, denominator: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """Coefficients that broadcast with (N, G, M)."""
    return list(numerator.unbind()), [b.unsqueeze(1) for b in denominator.unbind(1)]


def _power_sums(z: Tensor, weight: Tensor, count: int) -> Tensor:
    """sum over N and M of weight z^m for m < count: (G, count)."""
    sums = []
    for m in range(count):
        weight = weight if m == 0 else weight * z
        sums.append(weight.sum((0, 2)))
    return torch.stack(sums, dim=1)
