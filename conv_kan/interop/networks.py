"""The published spellings of networks of layers, which layouts_of learns here."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from torch import nn

from conv_kan.bases import BSpline, Chebyshev, Legendre
from conv_kan.bases.range_polynomial import RangePolynomial
from conv_kan.interop.constants import knot_constant
from conv_kan.interop.layouts import RANGE_WARNING, layouts_of
from conv_kan.interop.rules import Constant, Layout, Rule, channel_major, remembered_layout
from conv_kan.layers.linear import KAN, KANLinear
from conv_kan.layers.volver import TaylorLayer, Volver

__all__ = ["LISTS", "layers_layout", "layouts_of"]

LISTS = "torchkan"


@layouts_of.register
def _network(network: KAN, keys: Collection[str]) -> list[Layout]:
    """layers.{n}, where n also counts the dropouts between them, or torchkan's lists of weights."""
    count = len(network.layers)
    found = sorted({int(m[1]) for key in keys if (m := re.match(r"layers\.(\d+)\.", key))})
    remembered = re.findall(r"\d+", remembered_layout(network) or "")
    if len(found) != count and len(remembered) == count:
        found = [int(n) for n in remembered]
    elif len(found) != count:
        drops = [float(getattr(layer, "dropout", 0.0)) > 0 for layer in network.layers]
        found = [i + sum(drops[: i + 1]) for i in range(count)]
    children = {f"layers.{i}": f"layers.{n}" for i, n in enumerate(found)}
    return [Layout(layers_layout(found), children=children), *_lists_of_weights(network)]


def layers_layout(indices: Sequence[int]) -> str:
    """The name of the layout of a KAN whose layers have these published indices."""
    return " ".join(["layers", *map(str, indices)])


def _lists_of_weights(network: KAN) -> list[Layout]:
    layers = [layer for layer in network.layers if isinstance(layer, KANLinear)]
    bases = {type(layer.basis) for layer in layers}
    if len(layers) < len(network.layers) or not bases <= {BSpline, Legendre, Chebyshev}:
        return []
    rules: list[Rule] = []
    constants: list[Constant] = []
    for i, layer in enumerate(layers):
        if isinstance(layer.basis, BSpline):
            weight = Rule(f"layers.{i}.basis_weight", f"spline_weights.{i}")
        else:
            weight = Rule(f"layers.{i}.basis_weight", f"poly_weights.{i}", channel_major)
        rules += [
            weight,
            Rule(f"layers.{i}.base_weight", f"base_weights.{i}"),
            Rule(f"layers.{i}.norm.", f"layer_norms.{i}."),
            Rule(f"layers.{i}.activation.weight", f"prelus.{i}.weight"),
        ]
        constants += knot_constant(i, layer)
    basis = layers[0].basis
    misses_range = isinstance(basis, RangePolynomial) and not basis.over_batch
    return [
        Layout(
            LISTS,
            rules,
            constants=constants,
            scale=basis.scale,
            warning=RANGE_WARNING if misses_range else "",
        )
    ]


@layouts_of.register
def _volver(network: Volver, keys: Collection[str]) -> list[Layout]:
    """torchkan's lists of weights, one entry for each layer of the head."""
    rules: list[Rule] = []
    for i, layer in enumerate(network.head.children()):
        own = f"head.{i}."
        if isinstance(layer, TaylorLayer):
            rules += [
                Rule(own + "base.", f"base_weights.{i}."),
                Rule(own + "poly.basis_weight", f"poly_weights.{i}.weight", channel_major),
                Rule(own + "poly.base_bias", f"poly_weights.{i}.bias"),
                Rule(own + "norm.", f"batch_norms.{i}."),
            ]
        elif isinstance(layer, nn.Sequential):
            rules += [
                Rule(own + "0.basis_weight", f"poly_weights.{i}", channel_major),
                Rule(own + "0.base_weight", f"base_weights.{i}"),
                Rule(own + "1.", f"layer_norms.{i}."),
            ]
    return [Layout(LISTS, rules, children={"feature_extractor": "feature_extractor"})]
