"""What contains a derivative can be differentiated: every layer, basis, norm and activation.

In float64, against finite differences of first derivatives, which other tests hold to mathematics.
"""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch.autograd import forward_ad, gradgradcheck
from torch.func import functional_call

from conv_kan import EfficientKANLinear, KANConv, KANLinear, WavKANConv
from conv_kan.bases import list_bases
from conv_kan.layers import GroupRational
from conv_kan.layers.shuffled import ShuffledKANConv
from conv_kan.names import ACTIVATIONS, WAVELETS
from tests.conv_kan.test_every_layer import all_layers, image, make


def as_function(layer):
    """The layer as a function of its input and all that it learns, and these, in float64."""
    learned = {name: p for name, p in layer.double().named_parameters() if p.requires_grad}

    def function(x, *parameters):
        # Copies of the buffers, since a batch norm counts what passes it.
        state = {name: buffer.clone() for name, buffer in layer.named_buffers()}
        return functional_call(layer, state | dict(zip(learned, parameters, strict=True)), (x,))

    # Away from 0, where |b| of a rational has no second derivative.
    values = [p.detach() + 0.1 * torch.randn_like(p) for p in learned.values()]
    return function, [value.requires_grad_() for value in values]


def check(layer, x):
    """The second derivatives are those of the first ones; and these are the same with a graph."""
    function, parameters = as_function(layer)
    inputs = [x.double().requires_grad_(), *parameters]
    y = function(*inputs)
    grad = torch.randn_like(y)
    plain = torch.autograd.grad(y, inputs, grad, retain_graph=True, allow_unused=True)
    graph = torch.autograd.grad(y, inputs, grad, create_graph=True, allow_unused=True)
    for first, second in zip(plain, graph, strict=True):
        if first is not None:
            torch.testing.assert_close(first, second.detach(), rtol=1e-9, atol=1e-11)
    assert graph[0].requires_grad
    torch.manual_seed(2)
    assert gradgradcheck(function, inputs, atol=1e-4, rtol=1e-4, fast_mode=True)


def conv(**options):
    torch.manual_seed(0)
    return KANConv(2, 4, 3, padding=1, **options)


def images(seed=1, channels=2):
    return torch.randn(3, channels, 4, 3, generator=torch.Generator().manual_seed(seed))


@all_layers
def test_every_layer(name):
    layer = make(name)
    if name == "shuffled":  # it computes again in backward, when functional_call has ended
        for parameter in layer.parameters():
            parameter.requires_grad_(False)
    check(layer, image(name, batch=2))


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("basis", list_bases())
def test_every_basis(basis, groups):
    check(conv(basis=basis, groups=groups, norm=None), images())
    if groups == 1:
        check(KANLinear(2, 3, basis=basis, base_bias=True), images().flatten(2)[:, :, 0])


@pytest.mark.parametrize("backend", ["torch", "cpp"])
@pytest.mark.parametrize("activation", [None, "silu", "prelu"])
@pytest.mark.parametrize("norm", ["batch", "instance", "group", "layer", None])
def test_every_norm(norm, activation, backend):
    if norm == "instance" and activation is None:
        pytest.skip("a layer that cannot learn")
    check(conv(norm=norm, activation=activation, backend=backend), images())


def test_a_batch_norm_in_eval():
    layer = conv(backend="cpp")
    layer(images(seed=5))
    check(layer.eval(), images())


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activation(name):
    check(conv(base=name, activation=name, norm="group"), images())


@pytest.mark.parametrize("backend", ["torch", "cpp"])
@pytest.mark.parametrize("wavelet", WAVELETS)
def test_every_wavelet(wavelet, backend):
    torch.manual_seed(0)
    check(WavKANConv(2, 4, 3, padding=1, groups=2, wavelet=wavelet, backend=backend), images())


@pytest.mark.parametrize("options", [{}, {"standalone_scale": False}], ids=str)
def test_splines_on_knots_that_follow_data(options):
    torch.manual_seed(0)
    layer = EfficientKANLinear(2, 3, backend="cpp", **options)
    layer.update_grid(torch.randn(50, 2))
    check(layer, images().flatten(2)[:, :, 0])


@pytest.mark.parametrize("options", [
    {"stride": 2}, {"dilation": 2}, {"padding": 2, "stride": 3}, {"norm_position": "input"},
    {"basis": "rbf", "norm_position": "input", "activation": None, "norm": "instance"},
    {"base": None}, {"basis": "bspline", "backend": "cpp"}, {"basis": "rational", "backend": "cpp"},
], ids=str)  # fmt: skip
def test_every_way_of_convolving(options):
    torch.manual_seed(0)
    check(KANConv(2, 4, 3, **{"padding": 1, "groups": 2, **options}), images())


@pytest.mark.parametrize("backend", ["torch", "cpp"])
def test_group_rational_where_numbers_are_negative_and_large(backend):
    torch.manual_seed(0)
    check(GroupRational(2, channels_last=False, backend=backend), 1.5 * images(channels=4))


@pytest.mark.parametrize("kind", ["linear", "shuffled"])
def test_a_penalty_on_a_derivative_trains(kind):
    """Two layers, one of which reads what the other computes: each gradient is its own."""
    torch.manual_seed(0)
    if kind == "linear":
        layers = [KANLinear(2, 5), KANLinear(5, 1, norm=None, activation=None)]
        x = torch.randn(6, 2, dtype=torch.float64)
    else:
        layers = [ShuffledKANConv(2, 4, 3, groups=2, norm=None), KANConv(4, 1, 1, norm=None)]
        x = images().double()
    net = torch.nn.Sequential(*layers).double()
    x.requires_grad_()

    def penalty():
        (slope,) = torch.autograd.grad(net(x).sum(), x, create_graph=True)
        return (slope - 1.0).square().mean()

    weight = net[0].basis_weight
    (found,) = torch.autograd.grad(penalty(), weight)
    direction = torch.randn_like(weight)
    values = []
    for step in (1e-6, -2e-6):
        with torch.no_grad():
            weight += step * direction
        values.append(penalty().item())
    wanted = (values[0] - values[1]) / 2e-6
    assert (found * direction).sum().item() == pytest.approx(wanted, rel=1e-5)


def test_under_autocast_the_penalty_has_a_graph_near_that_in_double():
    layer, x = conv(norm="group"), images()
    found = []
    for enabled in (True, False):
        layer = layer if enabled else layer.double()
        z = x.to(next(layer.parameters()).dtype).requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            y = layer(z)
            (slope,) = torch.autograd.grad(y.float().square().sum(), z, create_graph=True)
        grads = torch.autograd.grad(slope.float().square().sum(), [layer.basis_weight, z])
        found.append([grad.double() for grad in grads])
    for half, double in zip(*found, strict=True):
        assert (half - double).norm() / double.norm() < 0.1


@pytest.mark.parametrize("make_layer", [
    conv, partial(KANLinear, 2, 3), partial(WavKANConv, 2, 4, 3, padding=1),
], ids=["conv", "linear", "wavelet"])  # fmt: skip
def test_forward_mode_agrees_with_backward(make_layer):
    torch.manual_seed(0)
    layer = make_layer().double()
    x = images().double() if layer.geometry.ndim else images().double().flatten(2)[:, :, 0]
    tangent = torch.randn_like(x)
    with forward_ad.dual_level():
        found = forward_ad.unpack_dual(layer(forward_ad.make_dual(x, tangent))).tangent
    weight = torch.randn_like(found)
    z = x.clone().requires_grad_()
    (grad,) = torch.autograd.grad(layer(z), z, weight)
    assert (found * weight).sum().item() == pytest.approx((grad * tangent).sum().item(), rel=1e-9)
