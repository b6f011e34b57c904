"""Mother wavelets together with their derivatives, which share the exponentials."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

_HAT = 2.0 / (math.sqrt(3.0) * math.pi**0.25)
_FREQUENCY = 5.0  # of wavelets.morlet
_SMALL = 1e-2


def _mexican_hat(u: Tensor) -> tuple[Tensor, Tensor]:
    """psi = a (u^2 - 1) e, psi' = a u (3 - u^2) e, e = exp(-u^2 / 2)."""
    square = u.square()
    e = torch.exp(-0.5 * square).mul_(_HAT)
    return (square - 1.0).mul_(e), (3.0 - square).mul_(u).mul_(e)


def _morlet(u: Tensor) -> tuple[Tensor, Tensor]:
    """psi = cos(f u) e, psi' = -(f sin(f u) + u cos(f u)) e."""
    e = torch.exp(u.square().mul_(-0.5))
    angle = _FREQUENCY * u
    value = torch.cos(angle).mul_(e)
    return value, torch.sin(angle).mul_(e).mul_(-_FREQUENCY).addcmul_(u, value, value=-1.0)


def _dog(u: Tensor) -> tuple[Tensor, Tensor]:
    """psi = -u e, psi' = (u^2 - 1) e."""
    square = u.square()
    e = torch.exp(-0.5 * square)
    return (-u).mul_(e), square.sub_(1.0).mul_(e)


def _meyer(u: Tensor) -> tuple[Tensor, Tensor]:
    """psi = sin(pi v) cos(b), v = |u|, b = pi/2 nu(t), t = 2 v - 1 in [0, 1];

    psi' = sign(u) (pi cos(pi v) cos(b) - pi nu'(t) sin(pi v) sin(b)), nu' = 140 t^3 (1 - t)^3, and
    0 for v >= 1.
    """
    v = u.abs().clamp_(max=1.0)
    t = (2.0 * v - 1.0).clamp_(min=0.0)
    cube = t * t * t
    b = cube * t * (35.0 + t * (-84.0 + t * (70.0 - 20.0 * t))) * (0.5 * math.pi)
    slope_nu = 140.0 * cube * (1.0 - t).pow(3)
    sine, cosine, angle = torch.sin(math.pi * v), torch.cos(b), math.pi * v
    slope = math.pi * (torch.cos(angle) * cosine - slope_nu * sine * torch.sin(b))
    return sine * cosine, slope * torch.sign(u) * (v < 1.0)


def _shannon(u: Tensor) -> tuple[Tensor, Tensor]:
    """psi = sin(u) / u, psi' = (cos(u) - psi) / u, near 0 its series -u / 3 + u^3 / 30."""
    value = torch.sinc(u / math.pi)
    near = u.abs() < _SMALL
    slope = (torch.cos(u) - value) / torch.where(near, torch.ones_like(u), u)
    return value, torch.where(near, u * (-1.0 / 3.0 + u.square() / 30.0), slope)


_PAIRS: dict[str, Callable[[Tensor], tuple[Tensor, Tensor]]] = {
    "mexican_hat": _mexican_hat,
    "morlet": _morlet,
    "dog": _dog,
    "meyer": _meyer,
    "shannon": _shannon,
}


def value_and_slope(wavelet: str, u: Tensor) -> tuple[Tensor, Tensor]:
    """psi(u) and psi'(u), elementwise, for |u| <= conv_kan.ops.maths.wavelets.REACH.

    Numerics: in the dtype of u, at least float32 is expected; at |u| < 0.01 the slope of the
    Shannon wavelet is accurate to 1e-10.
    """
    return _PAIRS[wavelet](u)
