"""The learned function of every edge: their sum is the layer before its norm and activation."""

import itertools

import pytest
import torch
from oracle import shaped_basis

from conv_kan import Bottleneck, KANConv, KANLinear, WavKANConv, WavKANLinear, list_bases

PLAIN = {"norm": None, "activation": None}
GEOMETRIES = {
    "padded": {"kernel_size": 3, "padding": 1},
    "strided": {"kernel_size": (3, 2), "padding": 2, "stride": 2, "dilation": 2, "groups": 2},
    "even-same": {"kernel_size": 2, "padding": "same", "groups": 2},
}


def sum_of_edges(layer, x):
    """Position by position: the edges whose window lies on the image; nothing where it does not."""
    g = layer.geometry
    per_in, per_out = layer.c_in // g.groups, layer.c_out // g.groups
    edges = layer.edge_functions(x.flatten())  # (O, C/groups, *kernel, B * C * positions)
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


def test_inside_a_bottleneck_and_without_positions():
    layer = Bottleneck(4, 4, 3, padding=1, basis="rbf").double()
    x = torch.randn(1, 4, 3, 3, dtype=torch.float64)
    torch.testing.assert_close(sum_of_edges(layer.inner, x), layer.inner(x))
    linear = WavKANLinear(4, 3, mix=True, norm=None).double()
    x = torch.randn(5, 4, dtype=torch.float64)
    torch.testing.assert_close(sum_of_edges(linear, x), linear(x))


def test_edges_are_differentiable():
    layer = KANConv(4, 2, 3)
    layer.edge_functions(torch.linspace(-2, 2, 9)).square().sum().backward()
    assert layer.basis_weight.grad is not None and layer.basis.beta.grad is not None
