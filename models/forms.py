"""How the layers of a kind are made: of its functions, in bottlenecks, as mixtures, or both."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn

from conv_kan.bases import create_basis
from conv_kan.families import FAMILIES, Family
from conv_kan.layers import (
    KAN,
    Bottleneck,
    KANConv,
    MixtureOfExperts,
    WavKANConv,
    WavKANLinear,
)
from models.kinds import Kind


@dataclass(frozen=True)
class Maker:
    """Makers of layers from the options of a kind.

    conv(c_in, c_out, kernel_size, **options), mlp(sizes, **options), and bottleneck, which takes
    conv's arguments, `gating` among them where its functions are a mixture.
    """

    conv: Callable[..., nn.Module]
    mlp: Callable[..., nn.Module]
    bottleneck: Callable[..., nn.Module]


def maker_of(kind: Kind) -> Maker:
    """The layers of a family, or of wavelets of every edge."""
    if kind.family:
        family = FAMILIES[kind.family]
        return Maker(family.conv, family.mlp, partial(_bottleneck, family))
    return Maker(WavKANConv, partial(KAN, linear=WavKANLinear), _wavelet_bottleneck)


def experts(
    conv: Callable[..., nn.Module],
    c_in: int,
    c_out: int,
    kernel_size: int,
    *,
    gating: Mapping[str, Any],
    **options: Any,
) -> MixtureOfExperts:
    """A mixture of whole convolutions, each with its norm."""
    expert = partial(conv, c_in, c_out, kernel_size, **options)
    return MixtureOfExperts(c_in, expert=expert, **gating)


def _bottleneck(
    family: Family,
    c_in: int,
    c_out: int,
    kernel_size: int,
    *,
    gating: Mapping[str, Any] | None = None,
    **options: Any,
) -> Bottleneck:
    """A bottleneck around the family's functions, or around a mixture of them with `gating`.

    Its dropout adds noise, as published. The norm stands outside the mixture: an expert sees few
    images of a batch, or one, whose statistics would be noise.
    """
    basis = create_basis(family.basis, **{name: options.pop(name) for name in family.defaults})
    layer = KANConv if gating is None else partial(experts, KANConv, gating=gating)
    options |= {"basis": basis, "layer": layer, "dropout_kind": "noise"}
    return Bottleneck(c_in, c_out, kernel_size, **options)


def _wavelet_bottleneck(
    c_in: int,
    c_out: int,
    kernel_size: int,
    *,
    wavelet: str,
    gating: Mapping[str, Any] | None = None,
    **options: Any,
) -> Bottleneck:
    """A bottleneck around wavelets of every edge, which have no basis."""

    def wavelets(c_in: int, c_out: int, kernel_size: int, *, basis: str, **given: Any) -> nn.Module:
        return WavKANConv(c_in, c_out, kernel_size, wavelet=wavelet, **given)

    layer = wavelets if gating is None else partial(experts, wavelets, gating=gating)
    options |= {"layer": layer, "dropout_kind": "noise"}
    return Bottleneck(c_in, c_out, kernel_size, **options)
