"""Focal modulation against its formula, for several layers."""

import copy
from functools import partial

import pytest
import torch
from torch import nn

from conv_kan import Bottleneck, FocalModulation, KANConv, WavKANConv

IMAGE = (5, 4, 3)
LAYERS = {
    "gram": KANConv,
    "rbf": partial(KANConv, basis="rbf"),
    "bottleneck": partial(Bottleneck, min_inner=2),
    "wavelet": WavKANConv,
}


@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize("name", LAYERS)
def test_equals_the_formula(ndim, name):
    focal = FocalModulation(4, layer=LAYERS[name], ndim=ndim, levels=2, window=1).double().eval()
    x = torch.randn(2, 4, *IMAGE[:ndim], dtype=torch.float64)
    maps = focal.f(x)
    q, context, gates = maps[:, :4], maps[:, 4:8], maps[:, 8:]
    one = focal.focal_layers[0](context)
    two = focal.focal_layers[1](one)
    total = one * gates[:, :1] + two * gates[:, 1:2]
    pooled = total.flatten(2).mean(2).view(2, 4, *[1] * ndim)
    expected = focal.proj(focal.norm(q * focal.h((total + pooled * gates[:, 2:]) / 3)))
    torch.testing.assert_close(focal(x), expected)
    assert [layer.geometry.kernel_size[0] for layer in focal.focal_layers] == [1, 3]


def test_depthwise_layers_read_their_own_channel():
    focal = FocalModulation(4).eval()
    x = torch.randn(1, 4, 6, 6)
    other = x.clone()
    other[:, 2] += 1.0
    changed = (focal.focal_layers[0](x) != focal.focal_layers[0](other)).flatten(2).any(2)
    assert changed.tolist() == [[False, False, True, False]]


def test_options():
    focal = FocalModulation(4, full=False, normalize=False, norm=None)
    assert type(focal.f) is type(focal.h) is nn.Conv2d and focal.f.bias is not None
    assert isinstance(focal.proj, KANConv) and focal.norm is None
    assert focal(torch.randn(2, 4, 6, 5)).shape == (2, 4, 6, 5)


def test_nothing_stays_behind():
    focal, x = FocalModulation(4), torch.randn(2, 4, 6, 6)
    before = set(vars(focal))
    focal(x).sum().backward()
    assert set(vars(focal)) == before
    torch.testing.assert_close(copy.deepcopy(focal).eval()(x), focal.eval()(x))


def test_errors():
    with pytest.raises(ValueError, match=r"sizes \[3, 4\], which must be odd"):
        FocalModulation(4, factor=1)
    with pytest.raises(ValueError, match=r"FocalModulation got .* takes \(batch, 4, height"):
        FocalModulation(4, full=False)(torch.randn(2, 5, 4, 4))
    with pytest.raises(ValueError, match="levels=0"):
        FocalModulation(4, levels=0)
    with pytest.raises(ValueError, match="ndim=4"):
        FocalModulation(4, ndim=4)
