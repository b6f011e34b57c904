"""The published families as rows of a table, and their initial weights."""

import math

import pytest
import torch

from conv_kan import FAMILIES, KANConv, get_family, list_bases
from conv_kan.published.family_init import published_init_

MLP_COUNTS = {  # [784, 64, 10], published; FastKAN stores 5 frozen grid points in each layer
    "bspline": (457_494, {}),
    "rbf": (306_676 - 2 * 5, {"grid_size": 5}),
    "chebyshev": (203_264, {}),
    "gram": (254_236, {}),
    "legendre": (254_228, {}),
    "jacobi": (254_228, {}),
    "bernstein": (254_228, {}),
    "relu": (105_098, {"g": 1, "k": 1}),
}


def count(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("name", MLP_COUNTS)
def test_parameter_counts_of_the_published_networks(name):
    published, options = MLP_COUNTS[name]
    net = get_family(name).mlp([784, 64, 10], **options)
    assert count(net) == published
    assert net(torch.randn(3, 784)).shape == (3, 10)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_every_family_trains_in_every_dimension(name, ndim):
    layer = FAMILIES[name].conv(4, 6, 3, ndim=ndim, groups=2, padding=1, dropout=0.1)
    assert isinstance(layer, KANConv)
    y = layer(torch.randn(2, 4, *(5, 6, 7)[:ndim]))
    assert y.shape == (2, 6, *(5, 6, 7)[:ndim])
    y.square().sum().backward()
    assert all(p.grad is not None for p in layer.parameters())


def test_rows_name_known_bases_and_acronyms():
    for name, family in FAMILIES.items():
        assert family.name == name and family.basis in list_bases()
        assert get_family(family.acronym) is family


def test_options_go_where_they_belong():
    layer = get_family("KAGN").conv(4, 6, 3, degree=5, scale="none", norm="instance", groups=2)
    assert layer.basis.num_functions == 6 and layer.basis.scale == 1.0
    assert isinstance(layer.norm, torch.nn.InstanceNorm2d) and layer.geometry.groups == 2
    net = get_family("legendre").mlp([4, 3], degree=2, activation=None)
    assert net.layers[0].base == "silu" and net.layers[0].activation is None
    with pytest.raises(ValueError, match="did you mean 'degree'"):
        get_family("gram").conv(4, 6, 3, degre=5)
    with pytest.raises(ValueError, match="did you mean 'dropout'"):
        get_family("gram").mlp([4, 3], dropuot=0.1)
    with pytest.raises(ValueError, match="did you mean 'gram'"):
        get_family("grm")


# Of layers with 32 and 48 channels, 2 groups, 3x3; K functions. std of the weights of unscaled phi.
C_IN, C_OUT, IN, OUT, TAPS = 32, 48, 16, 24, 9
CONV_STD = {
    "bspline": lambda k: (IN * k * TAPS) ** -0.5,
    "rbf": lambda k: (IN * k * TAPS) ** -0.5,
    "legendre": lambda k: (OUT * IN * k * TAPS) ** -0.5,
    "chebyshev": lambda k: 1 / (C_IN * k * TAPS),
    "gram": lambda k: (OUT * IN * k * TAPS) ** -0.5,
    "jacobi": lambda k: 1 / (C_IN * k * TAPS),
    "bernstein": lambda k: (OUT * IN * k * TAPS) ** -0.5,
    "relu": lambda k: (IN * k * TAPS) ** -0.5,
}
LINEAR_STD = {  # basis, base
    "bspline": (lambda k: (C_IN * k) ** -0.5, C_IN**-0.5),
    "rbf": (lambda k: 0.1, (3 * C_IN) ** -0.5),
    "legendre": (lambda k: (C_IN * k) ** -0.5, C_IN**-0.5),
    "chebyshev": (lambda k: 1 / (C_IN * k), None),
    "gram": (lambda k: (2 / ((C_IN + C_OUT) * k)) ** 0.5, (2 / (C_IN + C_OUT)) ** 0.5),
    "jacobi": (lambda k: 1 / (C_IN * k), (2 / (C_IN + C_OUT)) ** 0.5),
    "bernstein": (lambda k: 1 / (C_IN * k), (2 / (C_IN + C_OUT)) ** 0.5),
    "relu": (lambda k: (3 * C_IN * k) ** -0.5, None),
}
NORMAL = {True: {"rbf", "chebyshev", "jacobi", "bernstein"}, False: {"chebyshev", "jacobi"}}


def assert_drawn(weight, std, is_normal=False):
    spread = weight.std().item()
    assert spread == pytest.approx(std, rel=4 / math.sqrt(weight.numel()))
    assert (weight.abs().max().item() > 1.8 * spread) == is_normal


@pytest.mark.parametrize("scale", ["unit", "none"])
@pytest.mark.parametrize("name", CONV_STD)
def test_published_initial_weights(name, scale):
    torch.manual_seed(0)
    family = FAMILIES[name]
    conv = family.conv(C_IN, C_OUT, 3, groups=2, scale=scale)
    linear = family.mlp([C_IN, C_OUT], scale=scale).layers[0]
    for layer, is_linear in ((conv, False), (linear, True)):
        published_init_(layer, name)
        k = layer.basis.num_functions
        std, base = LINEAR_STD[name] if is_linear else (CONV_STD[name], (IN * TAPS) ** -0.5)
        weight = layer.basis_weight * layer.basis.scale
        assert_drawn(weight, std(k), name in NORMAL[is_linear])
        if layer.base_weight is not None:
            assert_drawn(layer.base_weight, base)
    assert (linear.base_bias is not None) == (name in ("rbf", "relu"))
    if linear.base_bias is not None:
        fan_in = C_IN if name == "rbf" else C_IN * linear.basis.num_functions
        bound = fan_in**-0.5
        assert 0.8 * bound < linear.base_bias.abs().max().item() <= bound


def test_published_gram_draws_beta_and_the_rest_is_reset():
    layer = get_family("gram").conv(C_IN, C_OUT, 3, degree=99, norm="batch")
    with torch.no_grad():
        layer.norm.weight.zero_()
    published_init_(layer, "gram")
    assert layer.basis.beta.std().item() == pytest.approx(1 / (C_IN * 100 * TAPS), rel=0.3)
    assert (layer.norm.weight == 1).all()
    with pytest.raises(ValueError, match="another basis"):
        published_init_(layer, "relu")
    with pytest.raises(ValueError, match="did you mean 'gram'"):
        published_init_(layer, "gramm")


DROPOUT_PLACES = {  # where the published layers drop: of the input, its functions, the output
    "bspline": "output",
    "rbf": "basis",
    "legendre": "basis",
    "chebyshev": "output",
    "gram": "basis",
    "jacobi": "functions",
    "bernstein": "basis",
    "relu": "input",
}


@pytest.mark.parametrize("name", DROPOUT_PLACES)
def test_dropout_is_where_the_published_layers_have_it(name):
    layer = FAMILIES[name].conv(4, 6, 3, dropout=0.5)
    assert layer.dropout_position == DROPOUT_PLACES[name]
