"""torchkan's networks for images of 28 x 28."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from torch import nn

from conv_kan.bases import create_basis
from conv_kan.layers.activation import Activation
from conv_kan.layers.linear import KANLinear, check_sizes
from conv_kan.layers.volver import SIZE, SampleRange, SharedPolynomial, TaylorLayer, Volver
from conv_kan.published.arguments import REQUIRED, Row, activation_of

_HIDDEN = {"layers_hidden": REQUIRED}


def _features(widths: Sequence[int]) -> int:
    return widths[-1] * (SIZE >> len(widths)) ** 2


def _sizes(widths: Sequence[int], layers_hidden: Sequence[int]) -> list[int]:
    """Those of the layers behind the stem, of which there must be one."""
    sizes = [_features(widths), *layers_hidden]
    check_sizes(sizes)
    return sizes


def build_kanvolver(
    *, layers_hidden: Sequence[int], polynomial_order: int, base_activation: Any
) -> nn.Module:
    """KANvolver: the features of the stem stand before layers_hidden."""
    name, widths = activation_of(base_activation), (16, 32)
    sizes = _sizes(widths, layers_hidden)
    layers = [TaylorLayer(a, b, polynomial_order, name) for a, b in pairwise(sizes)]
    return Volver(1, widths, nn.Sequential(*layers))


def build_legendvolver(
    *, input_channels: int, layers_hidden: Sequence[int], polynomial_order: int,
    base_activation: Any,
) -> nn.Module:  # fmt: skip
    """Legendvolver: layers of KAL_Net whose range is that of a sample, not of the batch."""
    name, widths = activation_of(base_activation), (16, 32)
    basis = create_basis("legendre", degree=polynomial_order, squash="none", scale="none")
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(_sizes(widths, layers_hidden)):
        layer = KANLinear(
            n_in, n_out, basis=basis, base=name, norm=lambda _: SampleRange(),
            norm_position="input", activation=None,
        )  # fmt: skip
        layers.append(nn.Sequential(layer, nn.LayerNorm(n_out), Activation(name)))
    return Volver(input_channels, widths, nn.Sequential(*layers))


def build_polyvolver(*, polynomial_degree: int) -> nn.Module:
    """Polyvolver: one learned polynomial of all features, and a Linear to 10 classes."""
    widths = (16, 32, 64)
    head = nn.Sequential(SharedPolynomial(polynomial_degree), nn.Linear(_features(widths), 10))
    return Volver(1, widths, head)


def volver_rows() -> list[Row]:
    """torchkan's networks that begin with convolutions."""
    order = {"polynomial_order": 2, "base_activation": nn.ReLU}
    legendre = {"input_channels": REQUIRED, **_HIDDEN, "polynomial_order": 3}
    return [
        Row("KANvolver", {**_HIDDEN, **order}, build_kanvolver),
        Row("Legendvolver", {**legendre, "base_activation": nn.SiLU}, build_legendvolver),
        Row("Polyvolver", {"polynomial_degree": 2}, build_polyvolver),
    ]
