"""Infinities, NaN and numbers whose powers overflow: the same on all backends, and as in double."""

import copy
import math

import pytest
import torch
from torch import nn

from conv_kan import WavKANConv
from conv_kan.bases import create_basis, list_bases
from conv_kan.layers.activation import Activation
from conv_kan.names import ACTIVATIONS, WAVELETS
from conv_kan.ops import cpp, cupy
from conv_kan.ops import plain as reference
from conv_kan.ops.maths.activations import ACTIVATIONS as FUNCTIONS
from conv_kan.ops.maths.expansion import Expansion
from conv_kan.ops.maths.formula import NOTHING
from conv_kan.ops.maths.geometry import Geometry
from conv_kan.ops.maths.plan import Inputs, Plan, Wanted
from conv_kan.ops.norm_act import norm_act

F32, F64 = torch.float32, torch.float64
LARGE = [1e4, -1e4, 1e10, -1e10, 1e20, -1e20, 1e30, -1e30, 3e37, -3e37]
NUMBERS = [torch.nan, torch.inf, -torch.inf, *LARGE]
# What vanishes at infinities, and what has no values there.
VANISH = ("bspline", "rbf", "relu", "shared_spline", *(f"wavelet {w}" for w in WAVELETS))
NOT_THERE = ("fourier", "rational")


def expansion_of(name):
    """The expansion of a basis, or of a basis and its wavelet, and its shape."""
    name, _, wavelet = name.partition(" ")
    basis = create_basis(name, **({"wavelet": wavelet} if wavelet else {}))
    basis.bind(1)
    with torch.no_grad():
        for p in basis.parameters():
            p.add_(0.1 * torch.randn_like(p))
    count, constants = basis.num_functions, tuple(basis.constants.values())
    expansion = Expansion(basis.functions, count, constants, 1.0, None, None, basis.formula())
    return expansion, [s.detach() for s in basis.shape]


def compute(module, expansion, shape, dtype):
    """The functions (numbers, M), their slopes, and the gradients of the shape by every number."""
    x, shape = torch.tensor(NUMBERS, dtype=dtype).unsqueeze(1), [s.to(dtype) for s in shape]
    plan, inputs = Plan(expansion, Geometry(), dtype, ()), Inputs(x, None, shape)
    values = module.expand_inputs(inputs, plan)
    wanted, slopes, grads = Wanted([True, False, *[True] * len(shape)], False), [], []
    for m in range(expansion.num_maps):
        ones = torch.zeros_like(values)
        ones[:, m] = 1.0
        slopes.append(module.pull_back(ones, inputs, plan, wanted)[0])
    for i in range(len(NUMBERS)):
        one = inputs._replace(x=x[i : i + 1])
        grads += module.pull_back(torch.ones_like(values[:1]), one, plan, wanted)[2:]
    return [values, torch.cat(slopes, dim=1), *grads]


def same(found, wanted, tolerance=1e-4):
    for one, other in zip(found, wanted, strict=True):
        one, other = one.double(), other.double()
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance, equal_nan=True)


def as_exact(found, exact, tolerance=1e-3):
    """Whether numbers are those of double, wherever these are numbers of float32."""
    known = exact.abs() < 0.1 * torch.finfo(F32).max
    return torch.allclose(found.double()[known], exact[known], rtol=tolerance, atol=1e-4)


@pytest.mark.parametrize("name", [*(b for b in list_bases() if b != "wavelet"), *VANISH[4:]])
def test_bases(name):
    torch.manual_seed(0)
    expansion, shape = expansion_of(name)
    found, plain, exact = (
        compute(module, expansion, shape, dtype)
        for module, dtype in ((cpp, F32), (reference, F32), (reference, F64))
    )
    # Of an angle of 1e10 radians, float32 knows nothing but that it has a cosine.
    same(found[:2], plain[:2], 2.0 if name == "fourier" else 1e-4)
    values, slopes, *grads = found
    grads, exact_grads = (g[len(shape) :] for g in (grads, exact[2:]))  # without those of NaN
    assert values[0].isnan().all() and slopes[0].isnan().all()
    ends = torch.cat([values[1:3], slopes[1:3]])
    if name in VANISH:
        assert ends.abs().max() < 1e-14 and all(g.isfinite().all() for g in grads)
    if name in NOT_THERE:
        assert ends.isnan().all()
    if name == "fourier":
        return
    assert as_exact(values, exact[0]) and as_exact(slopes, exact[1])
    if name != "wavelet shannon":  # u psi'(u) is a cosine of large angles
        assert all(map(as_exact, grads, exact_grads))


@pytest.mark.parametrize("name", ["rbf", "relu", "monomial", "shared_spline", "rational"])
def test_bases_on_a_gpu(name, monkeypatch):
    executor = pytest.importorskip("tests.cuda_on_cpu.executor")
    executor.Executor().install(monkeypatch)
    expansion = expansion_of(name)
    same(*(compute(module, *expansion, F32)[:2] for module in (cupy, reference)))


@pytest.mark.parametrize("name", [n for n in ACTIVATIONS if n in FUNCTIONS])
def test_activations(name):
    """But for what differs between torch's own vector and scalar instructions."""
    expansion = Expansion(lambda u, *shape: [], 0, (), 1.0, FUNCTIONS[name], name, NOTHING)
    found, plain = (compute(module, expansion, [], F32)[:2] for module in (cpp, reference))
    if name == "elu":
        found[1], plain[1] = found[1][1:], plain[1][1:]
    if name == "gelu":
        plain[0] = torch.tensor([[0.5 * x * (1.0 + math.erf(x / 2**0.5))] for x in NUMBERS])
        found[1], plain[1] = (torch.cat([t[:1], t[3:]]) for t in (found[1], plain[1]))
    same(found, plain)


@pytest.mark.parametrize("activation", [None, "silu", "relu", "prelu"])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kind", ["batch", "instance", "group"])
def test_norms(kind, training, activation):
    norms = {
        "batch": nn.BatchNorm2d(4),
        "instance": nn.InstanceNorm2d(4, affine=True),
        "group": nn.GroupNorm(2, 4),
    }
    act = Activation(activation) if activation else None
    function, params = (act.function, act.params) if act else (None, ())
    for number in (torch.nan, torch.inf, -torch.inf, 1e20):
        found = []
        for backend in ("cpp", "torch"):
            norm = copy.deepcopy(norms[kind]).train(training)
            torch.manual_seed(0)
            y = torch.randn(3, 4, 5, 7)
            y[1, 2, 3, 4] = number
            a = norm_act(y.requires_grad_(), norm, function, params, activation, backend)
            grads = torch.autograd.grad(a.sum(), [y, *norm.parameters(), *params])
            found.append([a.detach(), *grads, *norm.buffers()])
        same(*found, 1e-3)


@pytest.mark.parametrize("way", ["cpp", "torch", "composition", "cupy"])
@pytest.mark.parametrize("wavelet", WAVELETS)
def test_wavelets_of_edges(wavelet, way, monkeypatch):
    """An infinity, or a number whose square overflows, adds 0 to everything."""
    if way == "cupy":
        pytest.importorskip("tests.cuda_on_cpu.executor").Executor().install(monkeypatch)
    torch.manual_seed(0)
    backend = "torch" if way == "composition" else way
    layer = WavKANConv(3, 2, 1, wavelet=wavelet, base=None, norm=None, backend=backend)
    with torch.no_grad():
        layer.scale.uniform_(0.5, 2.0)
    for number in (torch.inf, -torch.inf, 1e20, -3e38):
        x = torch.randn(2, 3, 4, 4)
        x[:, 1] = number
        x.requires_grad_()
        y = layer(x)
        y.sum().backward(create_graph=way == "composition")
        rest = copy.deepcopy(layer)
        with torch.no_grad():
            rest.wavelet_weight[:, 1] = 0.0
            torch.testing.assert_close(y, rest(torch.where(x == number, 0.0, x)))
        assert x.grad[:, 1].abs().max() < 1e-15
        for parameter in layer.parameters():
            assert parameter.grad.isfinite().all()
            parameter.grad = None
