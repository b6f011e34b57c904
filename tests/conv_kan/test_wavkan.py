"""Per-edge wavelets: the op against the naive formula, memory."""

import pytest
import torch
import torch.nn.functional as F
from oracle import CONV, IMAGE

from conv_kan import WavKANConv, WavKANLinear
from conv_kan.ops.maths import edges
from conv_kan.ops.maths.geometry import make_geometry
from conv_kan.ops.maths.taps import add_taps, take_taps
from conv_kan.ops.maths.wavelet_slopes import value_and_slope
from conv_kan.ops.maths.wavelets import WAVELETS
from experiments.benchmarks.memory import kept_bytes

GEOMETRIES = {
    "padded": {"kernel_size": 3, "padding": 1},
    "strided": {"kernel_size": 3, "padding": 2, "stride": 2, "dilation": 2, "groups": 2},
    "even-same": {"kernel_size": 2, "padding": "same", "groups": 2},
    "pointwise": {"kernel_size": 1, "padding": 1, "stride": 2},
}


def make(ndim=2, geometry="padded", dtype=torch.float64, **options):
    options = {"norm": None, **GEOMETRIES[geometry], **options}
    layer = WavKANConv(4, 6, options.pop("kernel_size"), ndim=ndim, **options).to(dtype)
    with torch.no_grad():
        layer.scale.uniform_(0.5, 1.5)
        layer.translation.normal_()
    return layer


def naive(layer, x):
    """One output and one input channel at a time, with none of the library's ops."""
    g, n = layer.geometry, layer.geometry.ndim
    pads = [p for d in reversed(range(n)) for p in (g.padding[d], g.padding[d] + g.extra[d])]
    per_in, per_out = layer.c_in // g.groups, layer.c_out // g.groups
    conv = CONV[n]
    v, base = [], []
    for o in range(layer.c_out):
        channels = [o // per_out * per_in + c for c in range(per_in)]
        psi = [
            WAVELETS[layer.wavelet]((x[:, i] - layer.translation[o, c]) / layer.scale[o, c])
            for c, i in enumerate(channels)
        ]
        weight = layer.windowed_weight[o : o + 1]
        v.append(conv(F.pad(torch.stack(psi, 1), pads), weight, None, g.stride, 0, g.dilation))
        silu = F.pad(F.silu(x[:, channels]), pads)
        base.append(conv(silu, layer.base_weight[o : o + 1], None, g.stride, 0, g.dilation))
    v, base = torch.cat(v, 1), torch.cat(base, 1)
    if layer.mix_weight is not None:
        v = conv(v, layer.mix_weight.view(*layer.mix_weight.shape, *[1] * n), groups=g.groups)
    return v + base


def assert_matches(layer, x):
    x = x.detach().requires_grad_()
    y, expected = layer(x), naive(layer, x)
    torch.testing.assert_close(y, expected)
    grad_y, sources = torch.randn_like(y), [x, *layer.parameters()]
    found = torch.autograd.grad(y, sources, grad_y)
    wanted = torch.autograd.grad(expected, sources, grad_y)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_values_and_gradients_equal_the_formula(ndim, geometry):
    assert_matches(make(ndim, geometry), torch.randn(2, 4, *IMAGE[:ndim], dtype=torch.float64))


@pytest.mark.parametrize("wavelet", WAVELETS)
def test_every_wavelet_and_its_slope(wavelet):
    assert_matches(make(wavelet=wavelet, mix=False), torch.randn(2, 4, 5, 4, dtype=torch.float64))
    u = torch.cat([3 * torch.randn(500), torch.tensor([0, 1e-3, 9e-3, 1.1e-2, 0.5, 1.0, 30])])
    u = u.double().requires_grad_()
    value, slope = value_and_slope(wavelet, u.detach())
    expected = WAVELETS[wavelet](u)
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=1e-12)
    (wanted,) = torch.autograd.grad(expected.sum(), u)
    torch.testing.assert_close(slope, wanted.nan_to_num(), rtol=1e-8, atol=1e-8)


def test_small_tiles_change_nothing(monkeypatch):
    for limit in (1, 200, 2000):
        monkeypatch.setattr(edges, "_TILE_CPU", limit)
        assert_matches(make(2, "strided"), torch.randn(3, 4, 7, 6, dtype=torch.float64))


def test_taps_are_transposed_to_each_other():
    geometry = make_geometry(2, 3, 2, 2, 2, 1)
    v = torch.randn(2, 3, *geometry.output_size((5, 6)), dtype=torch.float64)
    taps = torch.randn(2, 9, 3 * 30, dtype=torch.float64)
    moved = torch.zeros_like(v)
    add_taps(moved, taps, (5, 6), geometry)
    torch.testing.assert_close((moved * v).sum(), (taps * take_taps(v, (5, 6), geometry)).sum())


FAKE = ("test_schema", "test_faketensor")  # of strides too, which a compiler relies on


def test_operator_is_registered_as_torch_asks():
    x = torch.randn(2, 4, 5, 4, dtype=torch.float64, requires_grad=True)
    for options in ({}, {"mix": False, "groups": 2}):
        layer = make(**options)
        arguments = (
            x, layer.wavelet_weight, layer.scale, layer.translation, layer.mix_weight, "dog",
            [layer.geometry.groups, 1, 1, 1, 1, 1, 1, 0, 0],
        )  # fmt: skip
        torch.library.opcheck(torch.ops.conv_kan.wavelet_conv.default, arguments)
        plain = [a.detach() if isinstance(a, torch.Tensor) else a for a in arguments]
        grad_y = torch.randn_like(layer(x)).detach()
        torch.library.opcheck(
            torch.ops.conv_kan.wavelet_conv_backward.default, (grad_y, *plain), test_utils=FAKE
        )


@pytest.mark.parametrize("wavelet", WAVELETS)
@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_memory(ndim, wavelet):
    layer = WavKANConv(64, 64, 3, padding=1, ndim=ndim, wavelet=wavelet)
    x = torch.randn(1, 64, *{1: (144,), 2: (12, 12), 3: (6, 5, 5)}[ndim], requires_grad=True)
    shannon = layer.wavelet_weight.nbytes if wavelet == "shannon" else 0  # times its window
    assert kept_bytes(lambda: layer(x), layer.parameters()) <= 2.05 * x.nbytes + shannon


def test_initial_variance_is_one():
    torch.manual_seed(0)
    for wavelet in ("mexican_hat", "morlet"):
        layer = WavKANConv(16, 256, 3, norm=None, wavelet=wavelet)
        with torch.no_grad():
            assert layer(torch.randn(8, 16, 5, 5)).var().item() == pytest.approx(1.0, rel=0.2)


def test_linear_equals_a_convolution_of_one_position():
    linear = WavKANLinear(5, 7, mix=True, norm=None).double()
    conv = WavKANConv(5, 7, 1, ndim=1, norm=None).double()
    for name, p in linear.named_parameters():
        conv.get_parameter(name).data.copy_(p.data.view_as(conv.get_parameter(name)))
    x = torch.randn(2, 3, 5, dtype=torch.float64)
    torch.testing.assert_close(linear(x).flatten(0, 1), conv(x.reshape(6, 5, 1)).squeeze(-1))


def test_errors():
    with pytest.raises(ValueError, match="did you mean 'morlet'"):
        WavKANConv(4, 6, 3, wavelet="morlett")
    with pytest.raises(ValueError, match="see also WavKANLinear"):
        WavKANConv(4, 6, 3, ndim=0)
    with pytest.warns(UserWarning, match="cannot learn"):
        WavKANConv(4, 6, 3, norm="instance")
