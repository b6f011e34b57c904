"""Kinds of KAN layers that a network can be made of, as rows: a family and the form it takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
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
from models.options import Option

EXPERT_OPTIONS = (
    Option("num_experts", int, 8, "experts of a convolution", minimum=1),
    Option("active_experts", int, 2, "experts that an image is sent to", minimum=1),
    Option("noisy_gating", bool, True, "noise on the gates in training, which balances the load"),
)
_BOTTLENECK = (
    Option("reduction", float, 8.0, "of the channels inside the bottleneck", minimum=1),
    Option("min_inner", int, 16, "fewest channels inside, if the layer has as many", minimum=1),
)


@dataclass(frozen=True)
class Kind:
    """How the layers of a network are made.

    conv(c_in, c_out, kernel_size, **options) and mlp(sizes, **options) make layers. Options of both
    are those of `basis_defaults`; of conv alone those of `own`. `base`, `activation` and `norm` are
    the defaults of convolutions; with `norm_first` their norm acts on the input. `experts` makes
    a mixture of convolutions: it takes conv's arguments and `gating`, those of the mixture.
    """

    basis: str
    conv: Callable[..., nn.Module]
    mlp: Callable[..., nn.Module]
    base: str | None
    activation: str | None
    norm: str | None
    norm_first: bool = False
    basis_defaults: Mapping[str, Any] = field(default_factory=dict)
    own: Sequence[Option] = ()
    experts: Callable[..., nn.Module] | None = None


def _of_family(family: Family) -> Kind:
    return Kind(
        basis=family.basis,
        conv=family.conv,
        mlp=family.mlp,
        base=family.base,
        activation=family.activation,
        norm=family.norm,
        norm_first=family.norm_position == "input",
        basis_defaults=family.defaults,
    )


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


def _rows() -> dict[str, Kind]:
    kinds = {name: _of_family(family) for name, family in FAMILIES.items()}
    gram, squeezed = kinds["gram"], partial(_bottleneck, FAMILIES["gram"])
    kinds["gram_bottleneck"] = replace(gram, conv=squeezed, own=_BOTTLENECK)
    kinds["gram_bottleneck_experts"] = replace(kinds["gram_bottleneck"], experts=squeezed)
    kinds["wavelet"] = Kind(
        basis="wavelet", conv=WavKANConv, mlp=partial(KAN, linear=WavKANLinear), base="silu",
        activation=None, norm="batch", basis_defaults={"wavelet": "mexican_hat"},
    )  # fmt: skip
    return kinds


KINDS = _rows()


def basis_of(kind: str | None) -> str | None:
    """The basis of a kind, for error messages; None for plain layers."""
    return None if kind is None else KINDS[kind].basis
