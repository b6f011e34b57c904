"""Activations of one's own, as functions and modules: in layers, and what is refused."""

import copy
import pickle
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from conv_kan import Bottleneck, KANConv, KANLinear, WavKANConv, create_basis, fold
from conv_kan.ops.backend import BackendError
from conv_kan.ops.maths.activations import activation_function, check_activation
from conv_kan.published.arguments import activation_of
from experiments.benchmarks.memory import kept_bytes


def swish(x):
    """silu, in words that no kernel knows."""
    return F.silu(x)


class Counted(nn.Module):
    """A module of one's own, with a setting and without parameters."""

    def __init__(self, power):
        super().__init__()
        self.power = power

    def forward(self, x):
        return x.sign() * x.abs() ** self.power


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("gelu", "gelu"),
        (F.silu, "silu"),
        (torch.tanh, "tanh"),
        (nn.SiLU(), "silu"),
        (nn.ReLU(inplace=True), "relu"),
        (nn.LeakyReLU(0.01), "leaky_relu"),
        (nn.LeakyReLU(0.2), None),
        (nn.GELU(approximate="tanh"), None),
        (torch.sin, None),
        (Counted(1.5), None),
    ],
)
def test_what_has_kernels_is_known_by_name(value, name):
    found = check_activation("base", value)
    assert (found if isinstance(found, str) else None) == name
    x = torch.linspace(-2, 2, 9)
    expected = getattr(F, value)(x) if isinstance(value, str) else value(x.clone())
    torch.testing.assert_close(activation_function(found)(x), expected)


def test_a_module_is_copied_and_leaves_its_argument_alone():
    given = nn.Mish(inplace=True)
    found = check_activation("base", given)
    assert found is not given and given.inplace and not found.inplace
    x = torch.linspace(-2, 2, 9)
    before = x.clone()
    torch.testing.assert_close(found(x), F.mish(before))
    assert torch.equal(x, before)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("sillu", "unknown; did you mean 'silu'"),
        (3, "must be a name, a function of a tensor or a module"),
        (nn.PReLU(), "has parameters, which layers do not train"),
        (nn.Sequential(nn.Linear(4, 4), nn.ReLU()), "has parameters"),
        (nn.RReLU(), "or on chance"),
        (nn.Dropout(0.5).eval(), "or on chance"),  # it follows the mode of the layer
        (nn.Softmax(-1), "depends on more than the number"),
        (nn.Softmax(1), r"fails for a tensor \(IndexError"),
        (lambda x: x - x.mean(), "depends on more than the number"),
        (torch.relu_, "changes its argument in place"),
        (torch.log, "is not finite"),
        (lambda x: x[:2], r"maps \(24,\) to \(2,\)"),
        (nn.Mish, "returned Mish for a tensor"),
    ],
)
@pytest.mark.parametrize(
    "make", [lambda **o: KANConv(2, 2, 1, **o), lambda **o: KANLinear(2, 2, **o)]
)
@pytest.mark.parametrize("label", ["base", "activation"])
def test_what_is_no_elementwise_function_is_refused(make, label, value, words):
    with pytest.raises((ValueError, TypeError), match=f"(?s){label}=.*{words}"):
        make(**{label: value})
    with pytest.raises((ValueError, TypeError), match=f"(?s)outer=.*{words}"):
        create_basis("gram", outer=value)


def test_functions_are_called_on_the_cpu_wherever_a_layer_is_made():
    def double(x):
        return x * torch.tensor(2.0)

    with torch.device("meta"):
        basis = create_basis("gram", outer=double)
        layer = KANConv(2, 2, 1, basis=basis, base=double, activation=Counted(2.0))
    assert layer.base_weight.is_meta and basis.constants == {0: 2.0}


LAYERS = {
    "conv": lambda **o: KANConv(4, 6, 3, padding=1, groups=2, **o),
    "gram": lambda base, **o: KANConv(
        4, 6, 3, padding=1, basis=create_basis("gram", outer=base), base=base, **o
    ),
    "linear": lambda **o: KANLinear(4, 6, **o),
    "bottleneck": lambda **o: Bottleneck(8, 6, 3, padding=1, min_inner=2, **o),
    "wavelets": lambda **o: WavKANConv(4, 6, 3, padding=1, **o),
}


def pair(kind):
    """The layer with kernels for SiLU, and that with a function of one's own that is SiLU."""
    layers = []
    for value in ("silu", swish):
        torch.manual_seed(0)
        layers.append(LAYERS[kind](base=value, activation=value).double())
    x = torch.randn(3, layers[0].c_in, *([] if kind == "linear" else [5, 5]), dtype=torch.float64)
    return (*layers, x)


@pytest.mark.parametrize("kind", LAYERS)
def test_a_function_of_ones_own_computes_the_same(kind):
    """Values, gradients, and gradients of gradients."""
    named, own, x = pair(kind)
    assert own.base is swish and own.base_name is None and own.activation.name is None
    assert named.state_dict().keys() == own.state_dict().keys()
    found = []
    for layer in (named, own):
        leaf = x.clone().requires_grad_()
        y = layer(leaf)
        first = torch.autograd.grad(
            y.square().sum(), [leaf, *layer.parameters()], create_graph=True
        )
        second = torch.autograd.grad(first[0].square().sum(), [leaf, *layer.parameters()])
        found.append([y, *first, *second])
    torch.testing.assert_close(*found)


@pytest.mark.parametrize("kind", LAYERS)
def test_it_keeps_no_more_than_kernels_do(kind):
    named, own, x = pair(kind)
    x = x.repeat(4, *[1] * (x.dim() - 1)).requires_grad_()
    with_names = kept_bytes(lambda: named(x), named.parameters())
    assert kept_bytes(lambda: own(x), own.parameters()) <= with_names


def test_it_is_compiled_folded_and_copied():
    layer = KANConv(4, 6, 3, base=Counted(2.0), activation=nn.Mish(), backend="auto").eval()
    x = torch.randn(2, 4, 6, 6)
    # conv_kan.published has given the layers a __getattr__, which a compiler must see through.
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    for other in (compiled, fold(layer), copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        torch.testing.assert_close(other(x), layer(x))
    assert "Counted" in repr(layer)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16


@pytest.mark.parametrize(
    "options", [{"base": torch.sin}, {"basis": create_basis("gram", outer=torch.sin)}]
)
def test_kernels_that_do_not_know_it_say_so(options):
    with pytest.raises(BackendError, match="backend='cpp' cannot run"):
        KANConv(4, 6, 3, backend="cpp", **options)(torch.randn(2, 4, 6, 6))
    KANConv(4, 6, 3, activation=torch.sin, backend="cpp")(torch.randn(2, 4, 6, 6))


@pytest.mark.parametrize(
    ("given", "value"),
    [
        (nn.SiLU, "silu"),
        (lambda: nn.GELU(), "gelu"),
        (partial(nn.LeakyReLU, 0.01), "leaky_relu"),
        (F.gelu, "gelu"),
        ("relu", "relu"),
    ],
)
def test_published_code_gives_what_makes_the_function(given, value):
    assert activation_of(given) == value


@pytest.mark.parametrize(
    "given", [nn.Mish, nn.Mish(), lambda: nn.Mish(), lambda: F.mish, F.mish, lambda x: F.mish(x)]
)
def test_published_code_may_give_any_function(given):
    x = torch.linspace(-2, 2, 9)
    torch.testing.assert_close(activation_function(activation_of(given))(x), F.mish(x))
    with pytest.raises(TypeError, match="threshold"):
        activation_of(nn.Threshold)
