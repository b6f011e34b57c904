"""Published tensors that hold no learned number: grids, counters of degrees, gates without use."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from conv_kan.bases import RBF, BSpline, Chebyshev
from conv_kan.interop.rules import Constant
from conv_kan.layers.core import KANLayer
from conv_kan.layers.mixture import MixtureOfExperts
from conv_kan.layers.rope import RotaryEmbedding

_ROPE_SIDE = 14


def layer_constants(layer: KANLayer) -> list[Constant]:
    """Those of a convolution or a linear layer: centres of RBF, degrees of Chebyshev."""
    basis = layer.basis
    if isinstance(basis, RBF):
        return [Constant("rbf.grid", lambda: torch.tensor(basis.centres), basis.set_centres)]
    if isinstance(basis, Chebyshev):
        ndim = layer.geometry.ndim
        shape = (1, 1, -1, *[1] * ndim) if ndim else (-1,)
        return [Constant("arange", lambda: torch.arange(basis.num_functions).view(shape))]
    return []


def gate_constants(mixture: MixtureOfExperts) -> list[Constant]:
    """The moments of the noise, and noise weights where ours has none."""
    found = [Constant("mean", lambda: torch.zeros(1)), Constant("std", lambda: torch.ones(1))]
    if mixture.noise_weight is None:
        found.append(Constant("w_noise", _zeros_like(mixture.gate_weight), dead=True))
    return found


def dead_gates(inner: nn.Module) -> list[Constant]:
    """Gates that a published bottleneck around a mixture has but never uses."""
    if not isinstance(inner, MixtureOfExperts):
        return []
    return [
        Constant(key, _zeros_like(inner.gate_weight), dead=True) for key in ("w_gate", "w_noise")
    ]


def rope_constants(rope: RotaryEmbedding | None) -> list[Constant]:
    """The places of the tokens on the published grid of 14 x 14."""
    if rope is None or rope.frequencies is None:
        return []
    t = torch.arange(_ROPE_SIDE**2)
    places = {"freqs_t_x": t % _ROPE_SIDE, "freqs_t_y": t // _ROPE_SIDE}
    return [Constant(key, _float(value)) for key, value in places.items()]


def knot_constant(index: int, layer: KANLayer) -> list[Constant]:
    """grid_{index} (in, G + 2p + 1) of torchkan, the same knots for every input.

    Each knot is rounded to float32 once: torch.linspace, which torchkan calls, has other last bits
    on processors with vectors of another width.
    """
    basis = layer.basis
    if not isinstance(basis, BSpline):
        return []
    count = basis.num_functions + basis.order + 1

    def knots() -> Tensor:
        grid = torch.tensor([basis.knot(m) for m in range(count)], dtype=torch.float32)
        return grid.expand(layer.c_in, count).contiguous()

    return [Constant(f"grid_{index}", knots)]


def _zeros_like(weight: Tensor) -> Callable[[], Tensor]:
    return lambda: torch.zeros_like(weight, device="cpu", requires_grad=False)


def _float(value: Tensor) -> Callable[[], Tensor]:
    return value.float
