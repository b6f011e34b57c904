"""Mother wavelets psi(u), elementwise; computed at least in float32, and 0 at infinities."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from conv_kan.ops.maths.bounds import bounded
from conv_kan.ops.maths.dtypes import promote

_MORLET_FREQUENCY = 5.0

# Beyond |u| = REACH, psi and psi' are 0 but for rounding, and u counts as +-REACH.
REACH = {"mexican_hat": 40.0, "morlet": 40.0, "dog": 40.0, "meyer": 1.0, "shannon": 1e30}


def mexican_hat(u: Tensor) -> Tensor:
    """psi = 2 / (sqrt(3) pi^(1/4)) (u^2 - 1) exp(-u^2 / 2)."""
    square = _argument("mexican_hat", u).square()
    return (square - 1.0) * torch.exp(-0.5 * square) * (2.0 / (math.sqrt(3.0) * math.pi**0.25))


def morlet(u: Tensor) -> Tensor:
    """psi = cos(5 u) exp(-u^2 / 2)."""
    u = _argument("morlet", u)
    return torch.cos(_MORLET_FREQUENCY * u) * torch.exp(-0.5 * u.square())


def dog(u: Tensor) -> Tensor:
    """psi = -u exp(-u^2 / 2), the derivative of a Gaussian."""
    u = _argument("dog", u)
    return -u * torch.exp(-0.5 * u.square())


def meyer(u: Tensor) -> Tensor:
    """psi = sin(pi v) A(v), v = |u|; A = 1 for v <= 1/2, 0 for v >= 1, between them

    A = cos(pi / 2 nu(2 v - 1)), nu(t) = t^4 (35 - 84 t + 70 t^2 - 20 t^3).
    """
    v = _argument("meyer", u).abs()
    t = (2.0 * v - 1.0).clamp(min=0.0)
    nu = t.pow(4) * (35.0 + t * (-84.0 + t * (70.0 - 20.0 * t)))
    return torch.sin(math.pi * v) * torch.cos(0.5 * math.pi * nu)


def shannon(u: Tensor) -> Tensor:
    """psi = sin(u) / u."""
    return torch.sinc(_argument("shannon", u) / math.pi)


def _argument(wavelet: str, u: Tensor) -> Tensor:
    return bounded(promote(u), REACH[wavelet])


WAVELETS: dict[str, Callable[[Tensor], Tensor]] = {
    "mexican_hat": mexican_hat,
    "morlet": morlet,
    "dog": dog,
    "meyer": meyer,
    "shannon": shannon,
}
