"""Group rationals: published numbers, both layouts, gradients, initial functions and their fit."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from goldens import GOLDEN, read

from conv_kan.bases.rational_fit import TARGETS, best_numerator, fit, fit_points
from conv_kan.bases.rational_init import RATIONALS
from conv_kan.interop import export_published, load_published
from conv_kan.layers.rational import GroupRational
from conv_kan.ops import cpp
from conv_kan.ops.maths.expansion import Expansion
from conv_kan.ops.maths.formula import Formula
from conv_kan.ops.maths.geometry import Geometry
from conv_kan.ops.maths.plan import Inputs, Plan, Wanted
from conv_kan.ops.maths.rational import magnitude
from conv_kan.ops.plain.rational import rational
from conv_kan.ops.rational import group_rational
from experiments.benchmarks.memory import kept_bytes

FILES = sorted((GOLDEN / "rational").glob("*"))
FUNCTIONS = {
    "identity": lambda x: x,
    "swish": F.silu,
    "gelu_old": F.gelu,
    "relu": F.relu,
    "leaky_relu": F.leaky_relu,
    "leaky_relu_0.1": lambda x: F.leaky_relu(x, 0.1),
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    **TARGETS,
    **{f"published_{name}": target for name, target in TARGETS.items()},
}
WORST = {
    "identity": 1e-12,
    "swish": 6e-5,
    "gelu_old": 5e-3,
    "relu": 0.031,
    "leaky_relu": 0.031,
    "leaky_relu_0.1": 0.03,
    "tanh": 2e-3,
    "sigmoid": 2e-4,
    "gelu": 3e-3,
    "geglu": 3e-3,
    "swishglu": 3e-4,
    "erfc_softplus_2": 4e-4,
}
MISFITS = {"gelu": 1.46, "geglu": 0.94, "swishglu": 1.71, "erfc_softplus_2": 0.085}


def shaped(num_groups=3, **options):
    layer = GroupRational(num_groups, "swish", **options).double()
    with torch.no_grad():
        for p in layer.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return layer


def formula(layer, x):
    """F for channels in the last dimension."""
    b = layer.denominator.abs().repeat_interleave(x.shape[-1] // len(layer.denominator), 0)
    p = sum(a * x**m for m, a in enumerate(layer.numerator))
    return p / (1 + sum(b[:, m - 1] * x.abs() ** m for m in range(1, 5)))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_published_values_and_gradients(path):
    tensors, meta = read(path)
    layer = GroupRational(meta["kwargs"]["num_groups"], "identity")
    layer.load_state_dict(
        {
            "numerator": tensors["state.weight_numerator"].squeeze(0),
            "denominator": tensors["state.weight_denominator"],
        }
    )
    x = tensors["x"].requires_grad_()
    y = layer(x)
    y.backward(tensors["grad_y"])
    pairs = {
        "y": y,
        "grad_x": x.grad,
        "grad.weight_numerator": layer.numerator.grad.unsqueeze(0),
        "grad.weight_denominator": layer.denominator.grad,
    }
    for name, found in pairs.items():
        assert (found - tensors[name]).norm() / tensors[name].norm() < 1e-5, name


def test_published_files_are_all_there():
    assert len(FILES) == 3


@pytest.mark.parametrize("shape", [(5, 6), (2, 5, 6), (2, 3, 4, 6)])
def test_values_layouts_and_gradients(shape):
    layer, first = shaped(), GroupRational(3, channels_last=False).double()
    first.load_state_dict(layer.state_dict())
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    y, expected = layer(x), formula(layer, x)
    torch.testing.assert_close(y, expected)
    grad = torch.randn_like(y)
    sources = [x, *layer.parameters()]
    found = torch.autograd.grad(y, sources, grad)
    wanted = torch.autograd.grad(expected, sources, grad)
    moved = first(x.movedim(-1, 1))  # not contiguous: an image in channels_last
    torch.testing.assert_close(moved.movedim(1, -1), expected)
    torch.testing.assert_close(first(x.movedim(-1, 1).contiguous()), moved)
    turned = torch.autograd.grad(moved.movedim(1, -1), [x, *first.parameters()], grad)
    for one, other, third in zip(found, turned, wanted, strict=True):
        torch.testing.assert_close(one, third)
        torch.testing.assert_close(other, third)


# Numbers whose powers overflow in float32, and such as do not.
WIDE = [0.0, 0.5, 1.0, -1.0, 1.5, -3.0, 1e4, -1e4, 1e10, -1e10, 1e20, -1e20, 1e30, -1e38]
ROWS = {
    **RATIONALS,
    "of equal orders": ((0.1, 0.2, -0.3, 0.4, 0.5, 0), (0.1, -0.2, 0.3, 0.4)),
    "few": ((0, 0, 1, 0, 0, 0), (0.1, 0, 0, 0)),
    "tiny": ((0, 1, 0, 0, 0, 1e-30), (0, 0, 0, 0)),
}


def by_autograd(function, x, a, b):
    """F, and its gradients in x, a and b."""
    leaves = [t.clone().requires_grad_() for t in (x, a, b)]
    y = function(*leaves)
    return [y.detach(), *torch.autograd.grad(y, leaves)]


def by_expansion(x, a, b):
    """The same by the functor that layers with this basis have."""
    counts = ("KAN_NUMERATOR", str(len(a))), ("KAN_DENOMINATOR", str(b.shape[1]))
    formula = Formula("Rational", (*counts, ("KAN_SQUASH", "Identity")), neighbours=True)
    expansion = Expansion(lambda u, *shape: [], 1, (), 1.0, None, None, formula)
    plan, inputs = Plan(expansion, Geometry(), x.dtype, ()), Inputs(x, None, (a, b))
    y = cpp.expand_inputs(inputs, plan)
    grads = cpp.pull_back(
        torch.ones_like(y), inputs, plan, Wanted([True, False, True, True], False)
    )
    return [y, *(grad for grad in grads if grad is not None)]


WAYS = {
    "torch": partial(by_autograd, lambda *leaves: group_rational(*leaves, True)),
    "cpp": partial(by_autograd, lambda *leaves: group_rational(*leaves, True, "cpp")),
    "composition": partial(by_autograd, lambda x, *shape: rational(x.unsqueeze(0), *shape)),
    "expansion": by_expansion,
}


def naive(x, a, b):
    """F by its definition: in float64, powers of numbers of float32 do not overflow."""
    P = sum(c * x**m for m, c in enumerate(a))
    return P / (1.0 + sum(magnitude(c) * magnitude(x) ** m for m, c in enumerate(b[0], start=1)))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_large_numbers_have_the_values_and_gradients_of_double(way, dtype):
    """A number is alone in its batch: it is all that the gradients of coefficients sum over."""
    for name, (a, b) in ROWS.items():
        a, b = torch.tensor(a).float(), torch.tensor(b).float().unsqueeze(0)
        for x in torch.tensor(WIDE).to(dtype).view(-1, 1, 1):
            wanted = by_autograd(naive, x.double(), a.double(), b.double())
            if float(wanted[0].abs()) > 0.9 * torch.finfo(dtype).max:
                continue
            for one, other in zip(WAYS[way](x, a, b), wanted, strict=True):
                limit = torch.finfo(one.dtype)
                one, other = (t.double().clamp(limit.min, limit.max) for t in (one, other))
                same = torch.isclose(one.flatten(), other.flatten(), max(1e-3, limit.eps), 1e-30)
                assert same.all(), (name, x, one, other)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("row", ["identity", "swish", "few"])
def test_infinities_and_nan_give_nan(way, row):
    a, b = (torch.tensor(c).float() for c in ROWS[row])
    b = b.unsqueeze(0)
    for number in (torch.inf, -torch.inf, torch.nan):
        y, grad, *_ = WAYS[way](torch.tensor([[number]]), a, b)
        assert y.isnan().all() and grad.isnan().all()


def test_gradients_equal_finite_differences():
    layer = shaped()
    x = torch.randn(2, 2, 6, dtype=torch.float64, requires_grad=True)

    def call(x, a, b):
        return group_rational(x, a, b, channels_last=True)

    assert torch.autograd.gradcheck(call, (x, layer.numerator, layer.denominator))


ORDERS = {
    "constant": ((0.7,), ()),
    "polynomial": ((0.5, -1.0, 2.0), ()),
    "Q alone": ((1.0,), (0.5, 0.0, 0.25)),
    "large orders": (tuple(0.5**m for m in range(9)), (0.1, 0.0, 0.3, 0.0, 0.5, 0.1)),
}


@pytest.mark.parametrize("backend", ["cpp", "torch"])
@pytest.mark.parametrize("name", ORDERS)
def test_layers_of_any_orders(name, backend):
    """Values, gradients and second derivatives, the groups being channels, against the formula."""
    a, b = ORDERS[name]
    torch.manual_seed(0)
    layer = GroupRational(4, ORDERS[name], backend=backend).double()
    assert layer.numerator.shape == (len(a),) and layer.denominator.shape == (4, len(b))
    x = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    size = x.abs()
    P = sum(c * x**m for m, c in enumerate(layer.numerator))
    Q = 1.0 + sum(c.abs() * size**m for m, c in enumerate(layer.denominator.T, start=1))
    torch.testing.assert_close(layer(x), P / Q)
    shape = [p.detach().clone().requires_grad_() for p in layer.parameters()]
    if b:
        shape[1].data.add_(0.1 * torch.rand_like(shape[1]))  # |b| has no second derivative at 0

    def call(x, *shape):
        return group_rational(x, *shape, True, backend)

    assert torch.autograd.gradcheck(call, (x, *shape))
    assert torch.autograd.gradgradcheck(call, (x, *shape), fast_mode=True)
    layer.reset_parameters()
    assert f"init={ORDERS[name]}" in repr(layer)
    state = export_published(layer)
    assert state["weight_numerator"].shape == (1, len(a))
    load_published(GroupRational(4, ORDERS[name]), state)


def test_a_coefficient_of_zero_can_leave_it():
    layer = GroupRational(2, "identity").double()
    x = torch.tensor([[0.0, 0.5, -1.0, 2.0]], dtype=torch.float64, requires_grad=True)
    for y in (layer(x), torch.func.vmap(layer)(x.unsqueeze(0))):
        x.grad = layer.denominator.grad = None
        y.sum().backward()
        m = torch.arange(1, 5)
        wanted = -(x.view(2, 2, 1) * x.view(2, 2, 1).abs() ** m).sum(1)
        torch.testing.assert_close(layer.denominator.grad, wanted.detach())
        torch.testing.assert_close(x.grad, torch.ones_like(x))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("backend", ["cpp", "torch"])
@pytest.mark.parametrize("channels_last", [True, False])
def test_training_keeps_the_input_alone(channels_last, backend, dtype):
    layer = GroupRational(8, channels_last=channels_last, backend=backend)
    x = torch.randn(4, 32, 32, dtype=dtype, requires_grad=True)
    assert kept_bytes(lambda: layer(x), layer.parameters()) <= x.numel() * x.element_size()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("init", RATIONALS)
def test_extreme_input_in_every_dtype(init, dtype):
    layer = GroupRational(1, init)
    x = torch.tensor([[0.0], [1.0], [-1.0], [1e4], [-1e4]], dtype=dtype, requires_grad=True)
    layer(x).float().clamp(-1e4, 1e4).sum().backward()
    assert layer(x).dtype == dtype and x.grad.isfinite().all()
    assert all(p.grad.isfinite().all() for p in layer.parameters())


def test_compiles_to_one_graph_and_takes_empty_batches():
    torch._dynamo.reset()
    layer, x = shaped(), torch.randn(2, 5, 6, dtype=torch.float64, requires_grad=True)
    y = torch.compile(layer, backend="aot_eager", fullgraph=True)(x)
    torch.testing.assert_close(y, layer(x))
    torch.testing.assert_close(
        torch.autograd.grad(y.sum(), x), torch.autograd.grad(layer(x).sum(), x)
    )
    empty = torch.zeros(0, 6, dtype=torch.float64, requires_grad=True)
    layer(empty).sum().backward()
    assert empty.grad.shape == (0, 6)


@pytest.mark.parametrize("init", RATIONALS)
def test_initial_functions(init):
    x = fit_points()
    layer = GroupRational(1, init).double()
    error = (layer(x.unsqueeze(1)).squeeze(1) - FUNCTIONS[init](x)).abs().max().item()
    if init.startswith("published_"):
        assert error == pytest.approx(MISFITS[init.removeprefix("published_")], rel=0.01)
    else:
        assert error < WORST[init]


@pytest.mark.parametrize("name", TARGETS)
def test_fitted_rows_are_least_squares(name):
    x = fit_points()
    a, b = (torch.tensor(row, dtype=torch.float64) for row in RATIONALS[name])
    layer = GroupRational(1, name).double()
    cost = (layer(x.unsqueeze(1)).squeeze(1) - TARGETS[name](x)).square().sum().item()
    found, residuals = best_numerator(x, TARGETS[name](x), b.unsqueeze(0))
    torch.testing.assert_close(found[0], a, rtol=1e-2, atol=1e-4)
    assert cost < 1.01 * residuals.square().sum().item()
    assert cost < 1.02 * fit(x, TARGETS[name](x), b.unsqueeze(0), num_steps=20)[2]


@pytest.mark.parametrize(
    ("options", "x", "error", "words"),
    [
        ({"num_groups": 4}, torch.zeros(2, 6), ValueError, "num_groups=4 does not divide 6"),
        ({"num_groups": 0}, torch.zeros(2, 6), ValueError, "at least 1"),
        ({"init": "gelo"}, torch.zeros(2, 8), ValueError, "did you mean 'gelu'"),
        ({"init": ((), (1.0,))}, torch.zeros(2, 8), ValueError, r"pass for example 'gelu' or \(\("),
        ({"init": ((1.0,), (1e999,))}, torch.zeros(2, 8), ValueError, "two rows of numbers"),
        ({"init": (1.0, 2.0, 3.0)}, torch.zeros(2, 8), ValueError, "two rows of numbers"),
        ({"init": None}, torch.zeros(2, 8), ValueError, "init=None must be a name"),
        ({}, torch.zeros(8), ValueError, r"takes \(\.\.\., C\)"),
        ({}, torch.zeros(2, 8, dtype=torch.int64), TypeError, r"x\.float\(\)"),
    ],
)
def test_errors_say_what_to_type(options, x, error, words):
    with pytest.raises(error, match=words):
        GroupRational(**options)(x)
