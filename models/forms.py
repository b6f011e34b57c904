"""How the layers of a kind are made: as those of a family, in bottlenecks, of wavelets."""

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
class Form:
    """Makers of layers.

    conv(c_in, c_out, kernel_size, **options) and mlp(sizes, **options) take the options of a kind.
    Where there are mixtures, experts takes conv's arguments and `gating`, those of the mixture.
    """

    conv: Callable[..., nn.Module]
    mlp: Callable[..., nn.Module]
    experts: Callable[..., nn.Module] | None = None


def _of_family(kind: Kind) -> Form:
    family = FAMILIES[kind.family]
    return Form(family.conv, family.mlp)


def _in_bottlenecks(kind: Kind) -> Form:
    family = FAMILIES[kind.family]
    conv = partial(_bottleneck, family)
    return Form(conv, family.mlp, experts=conv if kind.experts else None)


def _of_wavelets(kind: Kind) -> Form:
    return Form(WavKANConv, partial(KAN, linear=WavKANLinear))


FORMS: dict[str, Callable[[Kind], Form]] = {
    "family": _of_family,
    "bottleneck": _in_bottlenecks,
    "wavelet": _of_wavelets,
}


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
    layer = KANConv if gating is None else partial(_mixture, gating=gating)
    options |= {"basis": basis, "layer": layer, "dropout_kind": "noise"}
    return Bottleneck(c_in, c_out, kernel_size, **options)


def _mixture(
    c_in: int, c_out: int, kernel_size: int, *, gating: Mapping[str, Any], **options: Any
) -> MixtureOfExperts:
    expert = partial(KANConv, c_in, c_out, kernel_size, **options)
    return MixtureOfExperts(c_in, expert=expert, **gating)
