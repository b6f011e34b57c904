"""The bottleneck against its formula, and its memory."""

import pytest
import torch
from torch import nn

from conv_kan import Bottleneck, BottleneckLinear, KANConv, create_basis
from conv_kan.layers.bottleneck import inner_channels
from experiments.benchmarks.memory import kept_bytes


@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize("groups", [1, 2])
def test_equals_the_formula(ndim, groups):
    layer = Bottleneck(
        8, 12, 3, ndim=ndim, groups=groups, stride=2, padding=1, min_inner=2, basis="rbf"
    ).double()
    x = torch.randn(2, 8, *(5, 6, 4)[:ndim], dtype=torch.float64)
    assert isinstance(layer.inner, KANConv) and layer.inner.c_in == (3 if groups == 1 else 4)
    inner = layer.inner(layer.squeeze(x))
    conv = (nn.functional.conv1d, nn.functional.conv2d, nn.functional.conv3d)[ndim - 1]
    base = conv(nn.functional.silu(x), layer.base_weight, stride=2, padding=1, groups=groups)
    expected = nn.functional.silu(layer.norm(layer.expand(inner) + base))
    torch.testing.assert_close(layer(x), expected)
    no_base = Bottleneck(8, 12, 3, ndim=ndim, base=None, norm=None, activation=None).double()
    torch.testing.assert_close(no_base(x), no_base.expand(no_base.inner(no_base.squeeze(x))))


def test_inner_channels():
    for (c_in, c_out, reduction, least), wanted in {
        (64, 128, 4, 16): 32,
        (64, 32, 4, 16): 16,
        (32, 32, 4, 16): 16,
        (3, 32, 4, 16): 3,
        (10, 10, 3, 2): 3,
    }.items():
        assert inner_channels(c_in, c_out, reduction, least) == wanted
    with pytest.raises(ValueError, match=r"reduction=0\.5"):
        Bottleneck(8, 8, 3, reduction=0.5)
    with pytest.raises(ValueError, match="min_inner=0"):
        Bottleneck(8, 8, 3, min_inner=0)
    with pytest.raises(ValueError, match="see also BottleneckLinear"):
        Bottleneck(8, 8, 3, ndim=0)
    with pytest.raises(ValueError, match="c_out=9 is not divisible by groups=2"):
        Bottleneck(8, 9, 3, groups=2)


@pytest.mark.parametrize("name", ["gram", "bspline"])
def test_keeps_its_input_its_output_and_two_inner_maps(name):
    layer = Bottleneck(64, 64, 3, padding=1, basis=create_basis(name))
    x = torch.randn(2, 64, 16, 16, requires_grad=True)
    assert kept_bytes(lambda: layer(x), layer.parameters()) <= 2.51 * x.nbytes


def test_initial_variance_is_near_one():
    torch.manual_seed(0)
    layer = Bottleneck(64, 256, 3, norm=None, activation=None)
    with torch.no_grad():
        assert 0.7 < layer(torch.randn(16, 64, 6, 6)).var() < 1.3
        before = {name: p.clone() for name, p in layer.named_parameters()}
        layer.reset_parameters()
    changed = {name for name, p in layer.named_parameters() if not torch.equal(p, before[name])}
    assert changed == {"base_weight", "squeeze.weight", "expand.weight", "inner.basis_weight"}


def test_linear_takes_any_number_of_dimensions():
    assert BottleneckLinear(6, 4)(torch.randn(2, 3, 6)).shape == (2, 3, 4)
