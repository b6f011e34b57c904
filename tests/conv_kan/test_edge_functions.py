"""The learned function of every edge: their sum is the layer before its norm and activation."""

import itertools

import pytest
import torch
from oracle import shaped_basis
from torch import nn

from conv_kan import (
    Bottleneck,
    BottleneckLinear,
    GroupRational,
    KANConv,
    KANLinear,
    WavKANConv,
    WavKANLinear,
    list_bases,
)

PLAIN = {"norm": None, "activation": None}
GEOMETRIES = {
    "padded": {"kernel_size": 3, "padding": 1},
    "strided": {"kernel_size": (3, 2), "padding": 2, "stride": 2, "dilation": 2, "groups": 2},
    "even-same": {"kernel_size": 2, "padding": "same", "groups": 2},
}


def sum_of_edges(layer, x, functions=None):
    """Position by position: the edges whose window lies on the image; nothing where it does not."""
    g = layer.geometry
    per_in, per_out = x.shape[1] // g.groups, layer.c_out // g.groups
    edges = (functions or layer.edge_functions)(
        x.flatten()
    )  # (O, C/groups, *kernel, B * C * positions)
    edges = edges.unflatten(-1, x.shape)
    size, out_size = x.shape[2:], g.output_size(x.shape[2:])
    y = x.new_zeros(x.shape[0], layer.c_out, *out_size)
    for o, c in itertools.product(range(layer.c_out), range(per_in)):
        for tap in itertools.product(*map(range, g.kernel_size)):
            curve = edges[(o, c, *tap)][:, o // per_out * per_in + c]
            for p in itertools.product(*map(range, out_size)):
                places = zip(p, tap, g.stride, g.dilation, g.padding, strict=True)
                s = [a * t + k * d - pad for a, k, t, d, pad in places]
                if all(0 <= i < n for i, n in zip(s, size, strict=True)):
                    y[(slice(None), o, *p)] += curve[(slice(None), *s)]
    return y


@pytest.mark.parametrize("name", list_bases())
def test_every_basis(name):
    layer = KANConv(4, 2, 2, ndim=1, padding=1, groups=2, basis=shaped_basis(name), **PLAIN)
    layer, x = layer.double(), torch.randn(2, 4, 3, dtype=torch.float64)
    torch.testing.assert_close(sum_of_edges(layer, x), layer(x))
    linear = KANLinear(4, 3, basis=shaped_basis(name), base=None, **PLAIN).double()
    x = torch.randn(5, 4, dtype=torch.float64)
    torch.testing.assert_close(sum_of_edges(linear, x), linear(x))


@pytest.mark.parametrize("make", [KANConv, WavKANConv])
@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("base", ["gelu", None])
def test_every_geometry(make, geometry, base):
    options = dict(GEOMETRIES[geometry])
    layer = make(4, 2, options.pop("kernel_size"), base=base, **options, **PLAIN).double()
    for name, p in layer.named_parameters():
        if name in ("scale", "translation"):
            torch.nn.init.uniform_(p, 0.5, 1.0)
    x = torch.randn(2, 4, 4, 3, dtype=torch.float64)
    kernel = layer.geometry.kernel_size
    grid = torch.linspace(-1, 1, 7, dtype=torch.float64)
    assert layer.edge_functions(grid).shape == (2, 4 // layer.geometry.groups, *kernel, 7)
    torch.testing.assert_close(sum_of_edges(layer, x), layer(x))


@pytest.mark.parametrize("inner", [KANConv, WavKANConv])
@pytest.mark.parametrize("groups", [1, 2])
def test_a_bottleneck_is_a_sum_over_its_squeezed_channels(inner, groups):
    layer = Bottleneck(
        8, 6, 3, padding=1, groups=groups, min_inner=2, basis="rbf", layer=_layer(inner), **PLAIN
    ).double()
    x = torch.randn(1, 8, 3, 2, dtype=torch.float64)
    found = sum_of_edges(layer, layer.squeeze(x), layer.edge_functions)
    torch.testing.assert_close(found + sum_of_edges(layer, x, layer.base_edges), layer(x))


def _layer(kind):
    """A layer factory for Bottleneck, for layers that have no basis too."""
    return lambda c_in, c_out, kernel_size, *, basis, **options: kind(
        c_in, c_out, kernel_size, **({"basis": basis} if kind is KANConv else {}), **options
    )


def test_a_linear_bottleneck_and_one_without_functions():
    layer = BottleneckLinear(6, 4, min_inner=2, **PLAIN).double()
    x = torch.randn(5, 6, dtype=torch.float64)
    with torch.no_grad():
        layer.squeeze.bias.normal_()
    found = sum_of_edges(layer, layer.squeeze(x), layer.edge_functions)
    found = found + sum_of_edges(layer, x, layer.base_edges) + layer.expand.bias
    torch.testing.assert_close(found, layer(x))
    mixture = Bottleneck(4, 4, 3, layer=lambda c, *_, **__: nn.Conv2d(c, c, 3))
    with pytest.raises(TypeError, match="Conv2d inside Bottleneck has no edge functions"):
        mixture.edge_functions(x[0])


def test_functions_of_a_normed_input():
    layer = KANConv(4, 2, 3, padding=1, basis="rbf", base=None, norm_position="input",
                    activation=None).double()  # fmt: skip
    x = torch.randn(2, 4, 3, 3, dtype=torch.float64)
    y = layer(x)
    torch.testing.assert_close(sum_of_edges(layer, layer.norm(x)), y)


def test_functions_of_a_group_rational():
    layer, x = GroupRational(2, "swish").double(), torch.randn(7, dtype=torch.float64)
    with torch.no_grad():
        layer.denominator.normal_()
    wanted = layer(x.unsqueeze(1).expand(7, 6))
    torch.testing.assert_close(layer.edge_functions(x).repeat_interleave(3, 0).t(), wanted)


def test_without_positions():
    linear = WavKANLinear(4, 3, mix=True, norm=None).double()
    x = torch.randn(5, 4, dtype=torch.float64)
    torch.testing.assert_close(sum_of_edges(linear, x), linear(x))


def test_edges_are_differentiable():
    layer = KANConv(4, 2, 3)
    layer.edge_functions(torch.linspace(-2, 2, 9)).square().sum().backward()
    assert layer.basis_weight.grad is not None and layer.basis.beta.grad is not None
