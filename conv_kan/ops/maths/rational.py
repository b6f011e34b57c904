"""Rational functions P / Q, also where their powers overflow, as differentiable operations.

    F = P / Q,  P = sum_{m=0..n} a_m x^m,  Q = sum_{m=0..d} |b_m| |x|^m,  b_0 = 1

For |x| > 1 both are divided by |x|^e, e the largest m with b_m != 0; with w = 1 / x, v = |w|:

    P |x|^-e = sgn(x)^e (sum_k top_k x^k + w sum_k low_k w^k),  top_k = a_{e+k},  low_k = a_{e-1-k}
    Q |x|^-e = sum_k bottom_k v^k,                              bottom_k = |b_{e-k}|
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Shifted(NamedTuple):
    """Coefficients for |x| > 1, a row for every denominator; `odd` is 1 where e is odd, else 0.

    Shapes: e, odd (R,); top (R, n + 1), low (R, d), bottom (R, d + 1); beyond (R, d): |b_{e+1+k}|,
    which are 0 but have gradients.
    """

    e: Tensor
    odd: Tensor
    top: Tensor
    low: Tensor
    bottom: Tensor
    beyond: Tensor


def shift(numerator: Tensor, denominator: Tensor) -> Shifted:
    """The coefficients of P |x|^-e and Q |x|^-e from a (n + 1,) and b (R, d)."""
    rows, d = denominator.shape
    m = torch.arange(d + 1, device=denominator.device)
    e = ((denominator != 0) * m[1:]).amax(1)
    a, b = numerator.expand(rows, -1), magnitude(denominator)
    b = torch.cat([torch.ones_like(b[:, :1]), b], dim=1)
    column = e.unsqueeze(1)
    top = _entries(a, column + torch.arange(a.shape[1], device=m.device))
    low, bottom = _entries(a, column - 1 - m[:-1]), _entries(b, column - m)
    return Shifted(e, e % 2, top, low, bottom, _entries(b, column + 1 + m[:-1]))


def _entries(values: Tensor, index: Tensor) -> Tensor:
    """values[r, index[r, k]], 0 where there is none."""
    last = values.shape[1] - 1
    found = values.gather(1, index.clamp(0, last))
    return torch.where((index >= 0) & (index <= last), found, 0.0)


def quotient(
    x: Tensor, numerator: Tensor, denominator: Tensor, spread: Callable[[Tensor], Tensor]
) -> Tensor:
    """P / Q, as often differentiable as one likes; NaN at infinities.

    Shapes: a (n + 1,), b (R, d); spread(t), t (R,), broadcasts with x.
    """
    outside = x.detach().abs() > 1.0
    inside = torch.where(outside, 0.0, x)
    b = [spread(column) for column in magnitude(denominator).unbind(1)]
    F = horner(inside, numerator.unbind()) / _one_plus(magnitude(inside), b)
    return torch.where(outside, _outside(x, outside, shift(numerator, denominator), spread), F)


def _outside(
    x: Tensor, outside: Tensor, shifted: Shifted, spread: Callable[[Tensor], Tensor]
) -> Tensor:
    """F for |x| > 1: r = |x|, held constant, goes into the coefficients, and y = x / r remains.

    No gradient then multiplies a power that overflows by a coefficient that is 0.
    """
    x = torch.where(outside, x, 1.0)
    r = x.detach().abs()
    y, u, v = x / r, r / x, 1.0 / r
    one = shifted.bottom[:, :1].detach()  # of both, so that Q is near 1
    top, low, bottom, beyond = (list(map(spread, (t / one).unbind(1))) for t in shifted[2:])
    P = horner(y, [_times(c, r, k) for k, c in enumerate(top)])
    P = P + horner(u, [_times(c, v, k + 1) for k, c in enumerate(low)]) * u
    Q = horner(magnitude(u), [_times(c, v, k) for k, c in enumerate(bottom)])
    size = magnitude(y)
    Q = Q + horner(size, [_times(c, r, k + 1) for k, c in enumerate(beyond)]) * size
    sign = torch.where((x < 0) & (spread(shifted.odd) > 0), -1.0, 1.0)
    return sign * P / Q


def _times(c: Tensor, r: Tensor, power: int) -> Tensor:
    """c r^power, factor by factor: it overflows only where the product does."""
    for _ in range(power):
        c = c * r
    return c


def _one_plus(size: Tensor, b: Sequence[Tensor]) -> Tensor:
    """1 + sum_{m=1..d} b_m size^m."""
    return horner(size, b) * size + 1.0


def magnitude(x: Tensor) -> Tensor:
    """|x| whose gradient at 0 is 1."""
    return torch.where(x >= 0, x, -x)


def horner(x: Tensor, coefficients: Sequence[Tensor]) -> Tensor:
    """sum_m c_m x^m."""
    *rest, last = coefficients
    value = last.expand_as(x)
    for c in reversed(rest):
        value = torch.addcmul(c.expand_as(x), value, x)
    return value


def slope(x: Tensor, coefficients: Sequence[Tensor]) -> Tensor:
    """sum_m m c_m x^(m-1)."""
    if len(coefficients) == 1:
        return torch.zeros_like(x)
    return horner(x, [m * c for m, c in enumerate(coefficients) if m])
