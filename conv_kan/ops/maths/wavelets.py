"""Mother wavelets psi(u), elementwise; computed at least in float32."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from conv_kan.ops.maths.dtypes import promote

_MORLET_FREQUENCY = 5.0


def mexican_hat(u: Tensor) -> Tensor:
    """psi = 2 / (sqrt(3) pi^(1/4)) (u^2 - 1) exp(-u^2 / 2)."""
    square = promote(u).square()
    return (square - 1.0) * torch.exp(-0.5 * square) * (2.0 / (math.sqrt(3.0) * math.pi**0.25))


def morlet(u: Tensor) -> Tensor:
    """psi = cos(5 u) exp(-u^2 / 2)."""
    u = promote(u)
    return torch.cos(_MORLET_FREQUENCY * u) * torch.exp(-0.5 * u.square())


def dog(u: Tensor) -> Tensor:
    """psi = -u exp(-u^2 / 2), the derivative of a Gaussian."""
    u = promote(u)
    return -u * torch.exp(-0.5 * u.square())


def meyer(u: Tensor) -> Tensor:
    """psi = sin(pi v) A(v), v = |u|; A = 1 for v <= 1/2, 0 for v >= 1, between them

    A = cos(pi / 2 nu(2 v - 1)), nu(t) = t^4 (35 - 84 t + 70 t^2 - 20 t^3).
    """
    v = promote(u).abs().clamp(max=1.0)  # psi(1) = 0, so the clamp only bounds the arguments
    t = (2.0 * v - 1.0).clamp(min=0.0)
    nu = t.pow(4) * (35.0 + t * (-84.0 + t * (70.0 - 20.0 * t)))
    return torch.sin(math.pi * v) * torch.cos(0.5 * math.pi * nu)


def shannon(u: Tensor) -> Tensor:
    """psi = sin(u) / u."""
    return torch.sinc(promote(u) / math.pi)


WAVELETS: dict[str, Callable[[Tensor], Tensor]] = {
    "mexican_hat": mexican_hat,
    "morlet": morlet,
    "dog": dog,
    "meyer": meyer,
    "shannon": shannon,
}
