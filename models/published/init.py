"""Published initial weights of networks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from conv_kan.bases import BASES
from conv_kan.layers import Bottleneck, BottleneckLinear, MixtureOfExperts, WavKANConv, WavKANLinear
from conv_kan.layers.core import KANLayer
from conv_kan.layers.shuffled import ShuffledKANConv
from conv_kan.published.family_init import published_init_
from conv_kan.published.init import (
    init_bottleneck_,
    init_bottleneck_linear_,
    init_mixture_,
    init_mixture_in_bottleneck_,
    init_wavelets_,
    init_wavelets_linear_,
    kaiming_,
)


def init_published_(module: nn.Module) -> None:
    """Draw the weights of all KAN layers in a module as the published ones do; others stay."""
    for kind, draw in _DRAWS.items():
        if isinstance(module, kind):
            draw(module)
            return
    for child in module.children():
        init_published_(child)


def _layer(layer: KANLayer) -> None:
    published_init_(layer, next(n for n, basis in BASES.items() if type(layer.basis) is basis))


def _shuffled(layer: ShuffledKANConv) -> None:
    _layer(layer)
    kaiming_(layer.basis_weight)


def _bottleneck(layer: Bottleneck) -> None:
    if isinstance(layer.inner, MixtureOfExperts):
        init_mixture_in_bottleneck_(layer)
    else:
        init_bottleneck_(layer, "gram")


def _mixture(mixture: MixtureOfExperts) -> None:
    for expert in mixture.experts:
        init_published_(expert)
    init_mixture_(mixture, copies=True)


# The first kind that fits a module counts.
_DRAWS: dict[type[nn.Module], Callable[[Any], None]] = {
    Bottleneck: _bottleneck,
    BottleneckLinear: init_bottleneck_linear_,
    MixtureOfExperts: _mixture,
    ShuffledKANConv: _shuffled,
    KANLayer: _layer,
    WavKANConv: init_wavelets_,
    WavKANLinear: init_wavelets_linear_,
}
