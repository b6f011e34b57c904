"""KAConv: the published layer, in any dimension, with little kept for backward."""

import copy
import json
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open
from torch import nn

from conv_kan import KAConv, expansion_limit
from conv_kan.interop import export_published, load_published, published_names
from conv_kan.layers.regularization import l1_weight_norm
from experiments.benchmarks.memory import kept_bytes

FOLDER = Path(__file__).parents[1] / "golden" / "kaconv"
_PADS = (F.conv1d, F.conv2d, F.conv3d)


def read(path):
    with safe_open(path, "pt") as file:
        meta = json.loads(file.metadata()["meta"])
        return meta["kwargs"], {key: file.get_tensor(key).double() for key in file.keys()}  # noqa: SIM118


def make(c_in=4, c_out=3, kernel_size=3, **options):
    """A layer away from its initial values, in float64."""
    torch.manual_seed(0)
    layer = KAConv(c_in, c_out, kernel_size, **options).double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return layer


def image(*size, seed=1):
    return torch.randn(*size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def unfolded(layer, x):
    """The maps before the norm by the definition: g of the values of every window."""
    geometry, taps = layer.geometry, layer.line_weight.shape[1]
    one_hot = torch.eye(taps, dtype=x.dtype).view(taps, 1, *geometry.kernel_size)
    convolve = partial(
        _PADS[geometry.ndim - 1],
        stride=geometry.stride,
        padding=geometry.padding,
        dilation=geometry.dilation,
    )
    size = geometry.output_size(x.shape[2:])
    maps = []
    for c in range(layer.c_in):
        own = slice(c * layer.multiplier, (c + 1) * layer.multiplier)
        window = convolve(x[:, c : c + 1], one_hot).flatten(2)  # (B, K, P)
        slopes = layer.negative_slope[c].view(-1, 1), layer.positive_slope[c].view(-1, 1)
        g = torch.where(window < 0, slopes[0] * window, slopes[1] * window)
        lines = layer.line_weight[own] @ (g + layer.offset[c].view(-1, 1))
        silu = convolve(F.silu(x[:, c : c + 1]), layer.silu_weight[own])
        bias = layer.silu_bias[own] + layer.line_bias[own]
        maps.append((lines + bias.view(-1, 1)).unflatten(2, size) + silu)
    return torch.cat(maps, dim=1)


def by_definition(layer, x):
    maps = unfolded(layer, x)
    maps = maps if layer.norm is None else layer.norm(maps)
    y = torch.einsum("om,bm...->bo...", layer.mix_weight, F.prelu(maps, layer.slope))
    return y + layer.mix_bias.view(-1, *[1] * layer.geometry.ndim)


def gradients(layer, function, x, **seed):
    """The output, and the gradients of the input and of everything, for a random gradient."""
    x = x.clone().requires_grad_()
    y = function(x)
    y.backward(image(*y.shape, seed=5))
    return {"y": y, "x": x.grad} | {key: p.grad for key, p in layer.named_parameters()}


def check_equal(found, wanted, tolerance=1e-9):
    for key, value in wanted.items():
        if value is not None:
            torch.testing.assert_close(found[key], value, rtol=tolerance, atol=tolerance, msg=key)


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.safetensors")), ids=lambda path: path.stem)
def test_published_layer(path):
    given, golden = read(path)
    layer = KAConv(
        given["in_channels"],
        given["out_channels"],
        given["kernel_size"],
        stride=given["stride"],
        padding=given["padding"],
    ).double()
    state = {k.removeprefix("state."): v for k, v in golden.items() if k.startswith("state.")}
    load_published(layer, state)
    exported = export_published(layer)
    assert set(exported) == set(state)
    assert all(torch.equal(value, state[key]) for key, value in exported.items())
    x = golden["x"].requires_grad_()
    y = layer(x)
    torch.testing.assert_close(y, golden["y"], rtol=1e-6, atol=1e-6)
    y.backward(golden["grad_y"])
    torch.testing.assert_close(x.grad, golden["grad_x"], rtol=1e-6, atol=1e-6)
    found = published_names(layer, {key: p.grad for key, p in layer.named_parameters()})
    wanted = {k.removeprefix("grad."): v for k, v in golden.items() if k.startswith("grad.")}
    assert len(wanted) == 9  # b and q have none
    for key, value in wanted.items():
        torch.testing.assert_close(found[key], value, rtol=1e-6, atol=1e-6, msg=key)


@pytest.mark.parametrize(
    ("size", "options"),
    [
        ((9,), {"stride": 2, "padding": 1}),
        ((5, 7), {"padding": (1, 0), "dilation": (1, 2)}),
        ((6, 5), {"padding": 1, "norm": None, "multiplier": 5}),
        ((4, 3, 5), {"padding": 1, "kernel_size": (3, 1, 3)}),
    ],
    ids=str,
)
def test_the_maps_are_those_of_the_definition(size, options):
    layer = make(ndim=len(size), **options)
    x = image(2, 4, *size)
    twin = copy.deepcopy(layer)
    check_equal(gradients(layer, layer, x), gradients(twin, partial(by_definition, twin), x), 1e-8)
    if layer.norm is not None:
        for buffer, other in zip(layer.buffers(), twin.buffers(), strict=True):
            torch.testing.assert_close(buffer, other)
        layer.eval(), twin.eval()
        check_equal(
            gradients(layer, layer, x), gradients(twin, partial(by_definition, twin), x), 1e-8
        )


def test_same_padding_of_an_even_window():
    layer, x = make(kernel_size=2, padding="same"), image(2, 4, 5, 6)
    padded = copy.deepcopy(layer)
    padded.geometry = make(kernel_size=2).geometry
    torch.testing.assert_close(layer(x), by_definition(padded, F.pad(x, (0, 1, 0, 1))))


def test_what_has_no_effect_has_no_gradient():
    """Before a norm by the statistics of the batch; by running ones it has both."""
    layer, x = make(padding=1), image(3, 4, 6, 6)
    constants = ("silu_bias", "line_bias", "offset")
    grads = gradients(layer, layer, x)
    assert all(not grads[key].any() for key in constants)
    layer(x, centered=True).sum().backward()
    layer.zero_grad()
    layer(x, centered=True).sum().backward()
    assert not layer.mix_bias.grad.any()
    grads = gradients(layer, layer.eval(), x)
    assert all(grads[key].any() for key in constants)


def test_the_gradient_at_zero_is_that_from_the_right():
    layer = make(1, 1, 1, norm=None)
    x = torch.zeros(1, 1, 1, 1, dtype=torch.float64, requires_grad=True)
    y = layer(x)
    (there,) = torch.autograd.grad(y, x)
    (right,) = torch.autograd.grad(layer(x + 1e-9), x)
    torch.testing.assert_close(there, right, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("norm", ["batch", None])
def test_tiles_change_nothing(norm):
    layer, x = make(padding=1, norm=norm), image(3, 4, 6, 5)
    wanted = gradients(layer, layer, x)
    running = [buffer.clone() for buffer in layer.buffers()]
    for limit in (1, 3 * 19 * 30 * 8 * 3):  # one channel; three
        twin = make(padding=1, norm=norm)
        with expansion_limit(limit):
            y = gradients(twin, twin, x)
        check_equal(y, wanted)
        for buffer, other in zip(twin.buffers(), running, strict=True):
            torch.testing.assert_close(buffer, other)


@pytest.mark.parametrize("kernel_size", [3, 5])
def test_training_keeps_its_input_alone(kernel_size):
    layer = KAConv(8, 8, kernel_size, padding=kernel_size // 2)
    x = torch.randn(16, 8, 12, 12, requires_grad=True)
    kept = kept_bytes(lambda: layer(x), layer.parameters())
    maps = 8 * layer.multiplier
    made_of_weights = 4 * maps * (3 * kernel_size**2 + 8)  # the joint kernel and its parts
    assert kept <= 1.01 * x.nbytes + 4 * made_of_weights
    assert kept < 0.1 * maps / 8 * x.nbytes  # one set of maps alone is `multiplier` inputs


@pytest.mark.parametrize("norm", ["instance", "group", nn.SyncBatchNorm], ids=str)
def test_other_norms_are_called(norm):
    layer, x = make(padding=1, norm=norm), image(3, 4, 6, 5)
    if norm is nn.SyncBatchNorm:  # in eval, as it runs on CPUs
        layer.eval()
    torch.testing.assert_close(layer(x), by_definition(layer, x))


def test_hooks_of_the_norm_see_its_maps():
    layer, x = make(padding=1), image(3, 4, 6, 5)
    wanted, seen = layer(x), []
    layer.norm.register_forward_hook(lambda module, inputs, y: seen.append(y.shape))
    torch.testing.assert_close(layer(x), wanted)
    assert seen == [(3, 4 * 19, 6, 5)]


def test_a_batch_of_one_value_per_map_is_told_as_torch_does():
    with pytest.raises(ValueError, match="Expected more than 1 value per channel"):
        make()(image(1, 4, 3, 3))


def test_edge_functions_are_what_a_map_adds_up():
    layer = make(2, 1, 3)
    x = image(1, 2, 3, 3)
    edges = layer.edge_functions(x.flatten()).squeeze(1).flatten(1, 2)  # (c_in m, K, 18)
    for c in range(2):
        own = slice(c * 19, (c + 1) * 19)
        values = edges[own, range(9), 9 * c + torch.arange(9)]
        bias = layer.silu_bias[own] + layer.line_bias[own]
        torch.testing.assert_close(values.sum(1) + bias, unfolded(layer, x)[0, own, 0, 0])


def test_penalties_and_weight_decay_know_the_layer():
    layer = make()
    weights = (layer.silu_weight, layer.line_weight, layer.mix_weight)
    torch.testing.assert_close(l1_weight_norm(layer), sum(w.abs().sum() for w in weights))
    assert set(layer.learned_shapes) <= {key for key, _ in layer.named_parameters()}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"in_channels": 3}, "did you mean 'c_in'"),
        ({"multiplier": 0}, "multiplier=0 must be at least 1"),
        ({"ndim": 4}, "ndim=4 must be 1, 2 or 3"),
        ({"norm": "bacth"}, "did you mean 'batch'"),
    ],
)
def test_mistakes_are_told(options, words):
    with pytest.raises((TypeError, ValueError), match=words):
        KAConv(4, 4, 3, **options)
