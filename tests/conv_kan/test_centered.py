"""What is the same at every position has no gradient before a norm that subtracts the mean.

Summed up, that gradient is a rounding error, which Adam divides by itself: dead weights then move
by the learning rate at every step, and equal runs differ.
"""

import copy

import pytest
import torch
from oracle import naive_conv
from torch import nn

from conv_kan import Bottleneck, KANConv, KANLinear

GEOMETRIES = {
    "padded": {"kernel_size": 3, "padding": 1},
    "strided": {"kernel_size": 3, "padding": 1, "stride": 2},
    "unpadded": {"kernel_size": 3},
    "even-same": {"kernel_size": 2, "padding": "same", "groups": 2},
    "wide": {"kernel_size": 3, "padding": 3, "dilation": 2},
}
SIZE = (8, 6, 4)
NO_PADDING = {"padded": "1", "strided": "1 2", "even-same": "0"}  # taps that never meet padding


def make(geometry, ndim=2, norm="batch", **options):
    where = dict(GEOMETRIES[geometry])
    kernel = where.pop("kernel_size")
    return KANConv(4, 6, kernel, ndim=ndim, norm=norm, **where, **options).double()


def image(ndim=2, **options):
    return torch.randn(3, 4, *SIZE[:ndim], dtype=torch.float64, **options)


def constant_grad(layer, x):
    """The gradient of the weight of the constant function."""
    y = layer(x)
    torch.autograd.backward(y, torch.randn_like(y))
    return layer.basis_weight.grad[:, :, 0]


@pytest.mark.parametrize("backend", ["torch", "cpp"])
@pytest.mark.parametrize("norm", ["batch", "instance"])
@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_gradients_are_those_of_the_formula(geometry, ndim, norm, backend):
    layer, x = make(geometry, ndim, norm, backend=backend), image(ndim, requires_grad=True)
    y = layer(x)
    expected = layer.activation(layer.norm(naive_conv(layer, x)))
    torch.testing.assert_close(y, expected, rtol=1e-9, atol=1e-9)
    sources, grad = [x, *layer.parameters()], torch.randn_like(y)
    for found, wanted in zip(
        torch.autograd.grad(y, sources, grad),
        torch.autograd.grad(expected, sources, grad),
        strict=True,
    ):
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("backend", ["torch", "cpp"])
@pytest.mark.parametrize("norm", ["batch", "instance"])
@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_taps_that_never_meet_padding_have_no_gradient(geometry, ndim, norm, backend):
    grad = constant_grad(make(geometry, ndim, norm, backend=backend), image(ndim))
    if geometry == "unpadded":
        assert torch.count_nonzero(grad) == 0
        return
    never = [int(k) for k in NO_PADDING.get(geometry, "").split()]
    dead = torch.zeros(grad.shape[2:], dtype=torch.bool)
    if never:
        dead[torch.meshgrid(*[torch.tensor(never)] * ndim, indexing="ij")] = True
    assert torch.count_nonzero(grad[:, :, dead]) == 0
    assert torch.count_nonzero(grad[:, :, ~dead]) == grad[:, :, ~dead].numel()


@pytest.mark.parametrize(
    "surroundings", ["compiled", "forward mode", "second derivative", "autocast"]
)
def test_no_gradient_in_other_surroundings(surroundings):
    # torch.func cannot count the batches of a batch norm.
    norm = "instance" if surroundings == "forward mode" else "batch"
    layer, x = make("padded", norm=norm), image(requires_grad=True)
    if surroundings == "compiled":
        y = torch.compile(layer, backend="aot_eager")(x)
        y.square().sum().backward()
        grad = layer.basis_weight.grad
    elif surroundings == "forward mode":
        parameters = dict(layer.named_parameters())

        def loss(weight):
            named = {**parameters, "basis_weight": weight}
            return torch.func.functional_call(layer, named, x).square().sum()

        grad = torch.func.jacfwd(loss)(layer.basis_weight)
    elif surroundings == "second derivative":
        (slope,) = torch.autograd.grad(layer(x).square().sum(), x, create_graph=True)
        (grad,) = torch.autograd.grad(slope.square().sum(), layer.basis_weight)
    else:
        layer, x = layer.float(), x.detach().float()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            layer(x).float().square().sum().backward()
        grad = layer.basis_weight.grad
    assert torch.count_nonzero(grad[:, :, 0, 1, 1]) == 0
    assert torch.count_nonzero(grad[:, :, 1, 1, 1]) == grad[:, :, 1, 1, 1].numel()


def test_siblings():
    bottleneck = Bottleneck(8, 8, 3, padding=1).double()
    bottleneck(torch.randn(3, 8, 5, 5, dtype=torch.float64)).square().sum().backward()
    assert torch.count_nonzero(bottleneck.inner.basis_weight.grad[:, :, 0, 1, 1]) == 0
    linear = KANLinear(4, 3, norm="batch", base_bias=True).double()
    assert torch.count_nonzero(constant_grad(linear, torch.randn(9, 4).double())) == 0
    assert torch.count_nonzero(linear.base_bias.grad) == 0


@pytest.mark.parametrize(
    "why", ["eval", "layer norm", "group norm", "listened", "no norm", "input"]
)
def test_where_the_mean_counts_the_gradient_stays(why):
    options = {"layer norm": {"norm": "layer"}, "no norm": {"norm": None}}.get(why, {})
    if why == "group norm":
        options = {"norm": lambda channels: nn.GroupNorm(2, channels)}
    if why == "input":
        options = {"norm_position": "input"}
    layer = make("padded", **options)
    if why == "eval":
        layer.eval()
    heard = []
    if why == "listened":
        layer.norm.register_forward_pre_hook(lambda module, args: heard.extend(args))
    y = layer(image())
    loss = sum((z * torch.randn_like(z)).sum() for z in [y, *heard])
    loss.backward()
    grad = layer.basis_weight.grad[:, :, 0, 1, 1]
    assert (grad.abs() > 1e-6).all()


def test_an_inner_layer_says_so_itself_where_its_output_is_not_a_plain_sum():
    inner = KANConv(4, 4, 3, padding=1, norm=None, activation="silu").double()
    y = inner(image(), centered=True)
    torch.autograd.backward(y, torch.randn_like(y))
    assert (inner.basis_weight.grad[:, :, 0].abs() > 1e-6).all()


def test_adam_leaves_dead_weights_where_they_are():
    layer = make("padded").float()
    before = copy.deepcopy(layer.basis_weight.detach())
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        layer(image().float()).square().mean().backward()
        optimizer.step()
    moved = (layer.basis_weight - before).abs().amax((0, 1))
    assert moved[0, 1, 1] == 0
    assert moved[0].flatten().sort().values[1] > 0.01
