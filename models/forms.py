"""How the layers of a kind are made: of its functions, in bottlenecks, as mixtures, or both."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn

from conv_kan.bases import create_basis
from conv_kan.families import FAMILIES, Family
from conv_kan.layers import (
    KAN,
    Bottleneck,
    BottleneckLinear,
    EfficientKAN,
    KANConv,
    MixtureOfExperts,
    WavKANConv,
    WavKANLinear,
)
from models.kinds import KINDS, Kind, chosen_arguments

# Options of the kind "efficient" of linear layers: splines on grids that adapt to the data.
_EFFICIENT = ("grid_size", "spline_order")


@dataclass(frozen=True)
class Maker:
    """Makers of layers from the options of a kind.

    conv(c_in, c_out, kernel_size, **options), mlp(sizes, **options), and bottleneck, which takes
    conv's arguments, `gating` among them where its functions are a mixture; bottleneck_mlp takes
    those of mlp.
    """

    conv: Callable[..., nn.Module]
    mlp: Callable[..., nn.Module]
    bottleneck: Callable[..., nn.Module]
    bottleneck_mlp: Callable[..., nn.Module]


def maker_of(kind: Kind) -> Maker:
    """The layers of a family, or of wavelets of every edge."""
    if kind.family:
        family = FAMILIES[kind.family]
        bottlenecks = partial(_bottleneck, family), partial(_bottleneck_mlp, family)
        return Maker(family.conv, family.mlp, *bottlenecks)
    mlp = partial(KAN, linear=WavKANLinear)
    return Maker(WavKANConv, mlp, _wavelet_bottleneck, _wavelet_bottleneck_mlp)


def chosen_mlp(kind: str, given: Mapping[str, Any], prefix: str = "") -> Callable[..., nn.Module]:
    """mlp(sizes): fully connected layers of a kind, or efficient ones, with the options given.

    Raises: as chosen_arguments, which has the prefix of the options' names.
    """
    known = {name: tuple(row.basis_defaults) for name, row in KINDS.items()}
    known["efficient"] = _EFFICIENT
    arguments = chosen_arguments(given, known, kind, prefix=prefix)
    make = EfficientKAN if kind == "efficient" else maker_of(KINDS[kind]).mlp
    return partial(make, **arguments)


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

    The norm stands outside the mixture: an expert sees few images of a batch, or one, whose
    statistics would be noise.
    """
    basis = create_basis(family.basis, **{name: options.pop(name) for name in family.defaults})
    layer = KANConv if gating is None else partial(experts, KANConv, gating=gating)
    options |= {"basis": basis, "layer": layer}
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
    options |= {"layer": layer}
    return Bottleneck(c_in, c_out, kernel_size, **options)


def _bottleneck_mlp(family: Family, sizes: Sequence[int], **options: Any) -> KAN:
    """Bottlenecks around the family's functions, with what its own layers have beside them."""
    basis = create_basis(family.basis, **{name: options.pop(name) for name in family.defaults})
    layer = {"base": family.base, "activation": family.activation, **family.mlp_layer}
    layer.pop("base_bias", None)  # the projections have biases
    return KAN(sizes, linear=_bottleneck_linear, basis=basis, **{**layer, **options})


def _wavelet_bottleneck_mlp(sizes: Sequence[int], *, wavelet: str, **options: Any) -> KAN:
    """Bottlenecks around wavelets of every edge, which have no basis."""

    def wavelets(n_in: int, n_out: int, *, basis: str, **given: Any) -> nn.Module:
        return WavKANLinear(n_in, n_out, wavelet=wavelet, **given)

    layer = {"activation": None, "norm": "batch", "layer": wavelets}
    return KAN(sizes, linear=_bottleneck_linear, **{**layer, **options})


def _bottleneck_linear(
    n_in: int, n_out: int, *, dropout_position: str, **options: Any
) -> BottleneckLinear:
    """A layer of a KAN, which says where dropout acts: on the input, as in every bottleneck."""
    return BottleneckLinear(n_in, n_out, **options)
