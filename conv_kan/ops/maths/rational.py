"""Rational functions P / Q as differentiable operations."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def quotient(x: Tensor, numerator: Sequence[Tensor], denominator: Sequence[Tensor]) -> Tensor:
    """P / Q from coefficients that broadcast with x, as differentiable operations."""
    size = magnitude(x)
    q = torch.zeros_like(x)
    for b in reversed(denominator):
        q = (q + magnitude(b)) * size
    return horner(x, numerator) / (q + 1.0)


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
