"""KANConv and KANLinear: arguments, initial variance, norms, dropout, errors."""

import copy
import warnings

import pytest
import torch
from oracle import BASES, naive_conv
from torch import nn

from conv_kan import KAN, Bottleneck, KANConv, KANLinear, WavKANConv, create_basis
from conv_kan.layers.norm import make_norm


def test_parameter_names_and_shapes():
    layer = KANConv(
        4, 6, (3, 5), groups=2, activation="prelu", basis=create_basis("gram", degree=4)
    )
    shapes = {name: tuple(p.shape) for name, p in layer.named_parameters()}
    assert shapes == {
        "basis_weight": (6, 2, 5, 3, 5),
        "base_weight": (6, 2, 3, 5),
        "basis.beta": (5,),
        "norm.weight": (6,),
        "norm.bias": (6,),
        "activation.weight": (2,),
    }
    assert "base_weight" not in KANConv(4, 6, 3, base=None).state_dict()
    linear = KANLinear(4, 6, base_bias=True, affine=False)
    shapes = {name: tuple(p.shape) for name, p in linear.named_parameters()}
    assert shapes == {
        "basis_weight": (6, 4, 4),
        "base_weight": (6, 4),
        "base_bias": (6,),
        "basis.beta": (4,),
    }


@pytest.mark.parametrize("name", BASES)
@pytest.mark.parametrize("base", ["silu", "identity", None])
@pytest.mark.parametrize("scale", ["unit", "none"])
def test_initial_variance_is_one(name, base, scale):
    torch.manual_seed(0)
    layer = KANConv(
        16,
        512,
        3,
        basis=create_basis(name, scale=scale),
        base=base,
        norm=None,
        activation=None,
        groups=2,
    )
    with torch.no_grad():
        y = layer(torch.randn(32, 16, 6, 6))
        assert y.square().mean().item() == pytest.approx(1.0, rel=0.1)
        if base is not None:
            layer.base_weight.zero_()
            y = layer(torch.randn(32, 16, 6, 6))
            assert y.square().mean().item() == pytest.approx(0.5, rel=0.15)


def test_reset_parameters_draws_everything_anew():
    layer = KANConv(4, 6, 3, activation="prelu")
    before = {name: p.clone() for name, p in layer.named_parameters()}
    with torch.no_grad():
        for p in layer.parameters():
            p.add_(1.0)
    layer.reset_parameters()
    for name, p in layer.named_parameters():
        if name.endswith("s_weight") or name == "base_weight":
            assert not torch.equal(p, before[name])
            assert p.abs().mean() < 1
        else:
            torch.testing.assert_close(p, before[name])


def test_a_basis_instance_is_copied():
    basis = create_basis("gram")
    one, other = KANConv(4, 6, 3, basis=basis), KANConv(4, 6, 3, basis=basis)
    assert one.basis is not basis and one.basis.beta is not other.basis.beta


@pytest.mark.parametrize("norm", ["batch", "instance", "group", "layer", None, nn.BatchNorm2d])
@pytest.mark.parametrize("activation", ["silu", "prelu", None])
@pytest.mark.filterwarnings("ignore:an instance norm")
def test_norm_and_activation_follow_the_sum(norm, activation):
    layer = KANConv(4, 32, 3, norm=norm, activation=activation, groups=2).double()
    x = torch.randn(3, 4, 6, 5, dtype=torch.float64)
    y = naive_conv(layer, x)
    y = y if layer.norm is None else layer.norm(y)
    y = y if layer.activation is None else layer.activation(y)
    torch.testing.assert_close(layer(x), y)


def test_a_norm_at_the_input_acts_on_the_basis_branch_only():
    layer = KANConv(4, 6, 3, norm_position="input", activation=None, basis="rbf").double()
    with torch.no_grad():
        layer.norm.weight.fill_(0.7)
    x = torch.randn(3, 4, 6, 5, dtype=torch.float64, requires_grad=True)
    u = layer.norm(x)
    basis_only = KANConv(4, 6, 3, base=None, norm=None, activation=None, basis="rbf").double()
    basis_only.basis_weight = layer.basis_weight
    expected = naive_conv(basis_only, u)
    silu = torch.nn.functional.silu(x)
    expected = expected + torch.nn.functional.conv2d(silu, layer.base_weight)
    y = layer(x)
    torch.testing.assert_close(y, expected)
    grad = torch.randn_like(y)
    sources = [x, layer.norm.weight, layer.base_weight, layer.basis_weight]
    for one, other in zip(
        torch.autograd.grad(y, sources, grad),
        torch.autograd.grad(expected, sources, grad),
        strict=True,
    ):
        torch.testing.assert_close(one, other)
    no_base = KANConv(4, 6, 3, norm_position="input", base=None, basis="rbf").double()
    no_base(x).sum().backward()
    assert no_base.norm.weight.grad is not None


def test_norm_names():
    assert isinstance(make_norm("batch", 8, 3, True), nn.BatchNorm3d)
    assert isinstance(make_norm("instance", 8, 1, True), nn.InstanceNorm1d)
    assert isinstance(make_norm("layer", 8, 0, True), nn.LayerNorm)
    for channels, groups in ((64, 4), (40, 2), (8, 1), (3, 1), (17, 1), (256, 16)):
        assert make_norm("group", channels, 2, True).num_groups == groups
    norm = make_norm("layer", 8, 2, True)
    y = norm(torch.randn(2, 8, 3, 3))
    torch.testing.assert_close(y.mean(1), torch.zeros(2, 3, 3))
    assert make_norm(None, 8, 2, True) is None


@pytest.mark.parametrize("position", ["basis", "input", "output"])
@pytest.mark.parametrize("ndim", [0, 1, 2, 3])
def test_dropout_drops_whole_channels(position, ndim):
    torch.manual_seed(0)
    options = {"dropout": 0.5, "dropout_position": position, "norm": None, "activation": None}
    if ndim:
        layer = KANConv(8, 8, 1, ndim=ndim, groups=8, basis="rbf", **options)
        with torch.no_grad():
            layer.base_weight.zero_()
    else:
        layer = KANLinear(8, 8, basis="rbf", **options)
    x = torch.randn(16, 8, *(4, 4, 4)[:ndim]).requires_grad_()
    y = layer(x)
    y.sum().backward()
    assert x.grad.isfinite().all()
    layer.eval()
    kept = layer(x)
    torch.testing.assert_close(layer(x), kept)
    if ndim and position == "output":
        dropped = (y == 0).flatten(2)
        assert (dropped.all(2) == dropped.any(2)).all()
        assert 0.3 < dropped.float().mean() < 0.7
        torch.testing.assert_close(y[y != 0], 2 * kept[y != 0])
    elif ndim:  # a dropped channel has the input 0 everywhere
        flat = y.flatten(2)
        constant = (flat == flat[:, :, :1]).all(2)
        assert 0.3 < constant.float().mean() < 0.7


def test_basis_dropout_leaves_the_base_branch_alone():
    layer = KANConv(8, 4, 3, dropout=0.5, norm=None, activation=None)
    x = torch.randn(2, 8, 5, 5)
    with torch.no_grad():
        layer.basis_weight.zero_()
    train = layer(x)
    torch.testing.assert_close(train, layer.eval()(x))


def test_instance_norm_without_activation_warns():
    with pytest.warns(UserWarning, match="Use norm='batch'"):
        layer = KANConv(4, 6, 3, norm="instance", activation=None)
    features = layer(torch.randn(8, 4, 9, 9)).mean((2, 3))  # what a global average pool sees
    assert features.abs().max() < 1e-5
    for norm in (nn.InstanceNorm2d, lambda channels: nn.GroupNorm(channels, channels)):
        with pytest.warns(UserWarning, match="cannot learn") as caught:
            KANConv(4, 6, 3, norm=norm, activation=None)
        assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        KANConv(4, 6, 3, norm="instance")
        KANConv(4, 6, 3, norm="instance", norm_position="input", activation=None)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"c_in": 5, "groups": 2}, ValueError, "c_in=5 is not divisible by groups=2"),
        ({"c_out": 5, "groups": 2}, ValueError, "c_out=5 is not divisible by groups=2"),
        ({"c_in": 0}, ValueError, "c_in=0 must be at least 1"),
        ({"groups": 0}, ValueError, "groups=0 must be at least 1"),
        ({"groups": 2.0}, TypeError, "must be an integer"),
        ({"kernel_size": 0}, ValueError, "kernel_size=0"),
        ({"kernel_size": (3, 3, 3)}, ValueError, "3 entries but ndim=2"),
        ({"stride": 0}, ValueError, "stride=0"),
        ({"padding": -1}, ValueError, "padding=-1"),
        ({"padding": "some"}, ValueError, "'same'"),
        ({"padding": "same", "stride": 2}, ValueError, "needs stride 1"),
        ({"dilation": 0}, ValueError, "dilation=0"),
        ({"ndim": 0}, ValueError, "use KANLinear"),
        ({"basis": "grams"}, ValueError, "did you mean 'gram'"),
        ({"basis": 3}, TypeError, "a name or a Basis"),
        ({"base": "silo"}, ValueError, "did you mean 'silu'"),
        ({"activation": "preluu"}, ValueError, "did you mean 'prelu'"),
        ({"norm": "btach"}, ValueError, "did you mean 'batch'"),
        ({"norm": lambda c: None}, TypeError, "channels -> torch.nn.Module"),
        ({"norm_position": "ouput"}, ValueError, "did you mean 'output'"),
        ({"dropout": 1.0}, ValueError, r"\[0, 1\)"),
        ({"dropout_position": "bases"}, ValueError, "did you mean 'basis'"),
    ],
)
def test_constructor_errors(options, error, words):
    arguments = {"c_in": 4, "c_out": 6, "kernel_size": 3, **options}
    with pytest.raises(error, match=words):
        KANConv(**arguments)


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((4, 8, 8), r"takes \(batch, 4, height, width\)"),
        ((1, 1, 4, 8, 8), r"takes \(batch, 4, height, width\)"),
        ((2, 3, 8, 8), r"\(2, 3, 8, 8\)"),
        ((2, 4, 0, 8), "too small"),
        ((2, 4, 2, 8), "too small for kernel_size"),
    ],
)
def test_input_errors(shape, words):
    with pytest.raises(ValueError, match=words):
        KANConv(4, 6, 3)(torch.zeros(shape))


def test_linear_equals_a_convolution_of_one_position():
    linear = KANLinear(5, 7, norm="batch", base_bias=True).double()
    conv = KANConv(5, 7, 1, ndim=1).double()
    with torch.no_grad():
        linear.base_bias.normal_()
        conv.basis_weight.copy_(linear.basis_weight.unsqueeze(-1))
        conv.base_weight.copy_(linear.base_weight.unsqueeze(-1))
    conv.norm = nn.Sequential(_AddBias(linear.base_bias), conv.norm)
    x = torch.randn(6, 5, dtype=torch.float64)
    torch.testing.assert_close(linear(x), conv(x.unsqueeze(-1)).squeeze(-1))


class _AddBias(nn.Module):
    def __init__(self, bias):
        super().__init__()
        self.bias = bias

    def forward(self, x):
        return x + self.bias[:, None]


@pytest.mark.parametrize("name", BASES)
def test_linear_gradients(name):
    layer = KANLinear(3, 4, basis=name, base_bias=True, activation="prelu").double()
    x = (0.3 * torch.randn(2, 3, 3, dtype=torch.float64)).requires_grad_()
    names, parameters = zip(*layer.named_parameters(), strict=True)

    def call(x, *parameters):
        return torch.func.functional_call(layer, dict(zip(names, parameters, strict=True)), (x,))

    assert torch.autograd.gradcheck(call, (x, *parameters), fast_mode=True)


def test_linear_shapes_and_errors():
    layer = KANLinear(5, 7)
    assert layer(torch.randn(2, 3, 4, 5)).shape == (2, 3, 4, 7)
    assert layer(torch.randn(5)).shape == (7,)
    assert layer(torch.randn(0, 5)).shape == (0, 7)
    assert layer(torch.randn(2, 0, 5)).shape == (2, 0, 7)
    for wrong in (torch.randn(2, 6), torch.randn(2, 3, 6), torch.tensor(1.0)):
        with pytest.raises(ValueError, match=r"KANLinear got an input of shape .* \(\.\.\., 5\)"):
            layer(wrong)
    with pytest.raises(ValueError, match="norm='layer'"):
        KANLinear(5, 7, norm="instance")


def test_network():
    net = KAN([6, 5, 4, 3], basis="rbf", dropout=0.5)
    assert [layer.dropout for layer in net.layers] == [0.0, 0.5, 0.5]
    assert net(torch.randn(2, 6)).shape == (2, 3)
    net = KAN([6, 3], dropout=0.5, first_dropout=True)
    assert net.layers[0].dropout == 0.5 and net.layers[0].dropout_position == "input"
    assert set(KAN([6, 3], dropout=0.5, first_dropout=True).state_dict()) == set(
        KAN([6, 3]).state_dict()
    )
    with pytest.raises(ValueError, match="first_dropout=True"):
        KAN([6, 3], dropout=0.5)
    with pytest.raises(ValueError, match="an input and an output size"):
        KAN([6])


def test_memory_format_and_device_moves_of_models():
    layers = nn.Sequential(KANConv(4, 6, 3), nn.Conv2d(6, 4, 3))
    layers.to(memory_format=torch.channels_last)
    assert layers[1].weight.is_contiguous(memory_format=torch.channels_last)
    assert layers[0].basis_weight.is_contiguous()
    with torch.device("meta"):
        empty = KANConv(4, 6, 3, norm="instance")
    empty.to_empty(device="cpu").load_state_dict(KANConv(4, 6, 3, norm="instance").state_dict())
    assert empty(torch.randn(2, 4, 5, 5)).isfinite().all()


def test_repr_shows_the_arguments():
    text = repr(KANConv(4, 6, 3, groups=2, dropout=0.1))
    for part in ("4, 6", "groups=2", "base='silu'", "dropout=0.1", "Gram(degree=3", "Activation"):
        assert part in text


@pytest.mark.parametrize("layer", [
    KANConv(8, 8, 3), KANConv(8, 8, 3, norm_position="input", base=None), WavKANConv(8, 8, 3),
    Bottleneck(8, 8, 3),
], ids=["conv", "norm of the input", "wavelets", "bottleneck"])  # fmt: skip
def test_an_input_on_another_device_is_a_message(layer):
    """Compiled kernels would read from an address that is not theirs."""
    moved = copy.deepcopy(layer).to("meta")
    with pytest.raises(
        RuntimeError, match=r"is on meta but got an input on cpu; type x\.to\('meta'"
    ):
        moved(torch.randn(4, 8, 40, 40))
