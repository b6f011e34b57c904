"""The spline layer with adaptive grids."""

import copy

import pytest
import torch
from goldens import GOLDEN, read
from scipy.interpolate import BSpline

from conv_kan import EfficientKAN, EfficientKANLinear, published
from conv_kan.ops.maths.knots import splines
from experiments.benchmarks.memory import kept_bytes


def trained(**options):
    layer = EfficientKANLinear(6, 4, **options).double()
    with torch.no_grad():
        layer.spline_weight.normal_()
    return layer


@pytest.mark.parametrize("number", [0, 1])
def test_published_grid(number):
    tensors, meta = read(GOLDEN / "linear" / f"efficient_kan_linear.{number}.safetensors")
    layer = published.KANLinear(*meta["args"], **meta["kwargs"])
    torch.testing.assert_close(layer.grid, tensors["state.grid"])


@pytest.mark.parametrize("order", [0, 1, 2, 3])
def test_splines_equal_scipys_on_uneven_knots(order):
    knots = torch.rand(3, 9, dtype=torch.float64).sort(1).values
    x = torch.rand(50, 3, dtype=torch.float64)
    found = splines(x, knots, order)
    for c in range(3):
        for j in range(8 - order):
            element = BSpline.basis_element(knots[c, j : j + order + 2].numpy(), extrapolate=False)
            wanted = torch.from_numpy(element(x[:, c].numpy())).nan_to_num()
            torch.testing.assert_close(found[:, c, j], wanted)


@pytest.mark.parametrize("order", [0, 1, 3])
def test_nan_is_not_silent(order):
    knots = torch.linspace(-1, 1, 9).expand(2, 9)
    x = torch.tensor([[float("nan"), 0.1]])
    found = splines(x, knots, order)
    assert found[0, 0].isnan().all() and found[0, 1].isfinite().all()


def test_repeated_knots_give_no_nan():
    knots = torch.tensor([[0.0, 0, 0, 0, 1, 1, 1, 1]])
    values = splines(torch.linspace(0, 0.99, 7).unsqueeze(1).requires_grad_(), knots, 3)
    torch.testing.assert_close(values.sum(-1), torch.ones(7, 1))
    values.sum().backward()


@pytest.mark.parametrize("standalone_scale", [True, False])
def test_a_new_grid_keeps_the_function(standalone_scale):
    torch.manual_seed(0)
    layer = trained(standalone_scale=standalone_scale, grid_size=20)
    x = 0.4 * torch.randn(500, 6, dtype=torch.float64).clamp(-2, 2)
    before, grid = layer(x), layer.grid.clone()
    with torch.no_grad():  # smooth splines, which the new grid can represent
        ramp = torch.linspace(-1, 1, layer.spline_weight.shape[-1], dtype=torch.float64)
        layer.spline_weight.copy_((layer.spline_weight[..., :1] * ramp).sin())
    before = layer(x)
    layer.update_grid(x)
    assert (layer.grid.diff(dim=1) > 0).all() and not torch.allclose(layer.grid, grid)
    assert (layer(x) - before).norm() < 0.02 * before.norm()
    once = layer(x)
    layer.update_grid(x)  # again with the same data: the same grid, and exactly the same splines
    torch.testing.assert_close(layer(x), once, rtol=1e-6, atol=1e-6)


def test_a_grid_for_few_or_equal_samples_is_finite():
    layer = trained()
    for x in (torch.randn(1, 6), torch.zeros(8, 6), torch.randn(3, 2, 6)):
        layer.update_grid(x.double())
        assert layer(x.double()).isfinite().all()
    with pytest.raises(ValueError, match="empty batch"):
        layer.update_grid(torch.randn(0, 6, dtype=torch.float64))


def test_regularization_is_finite_at_zero():
    layer = trained()
    p = layer.spline_weight.abs().mean(-1)
    entropy = -(p / p.sum() * (p / p.sum()).log()).sum()
    torch.testing.assert_close(layer.regularization_loss(2.0, 3.0), 2 * p.sum() + 3 * entropy)
    for zeros in (slice(0, 1), slice(None)):
        with torch.no_grad():
            layer.spline_weight[zeros] = 0.0
        loss = layer.regularization_loss()
        (grad,) = torch.autograd.grad(loss, layer.spline_weight)
        assert loss.isfinite() and grad.isfinite().all()


def test_edges_sum_to_the_layer():
    layer = trained()
    layer.update_grid(torch.randn(100, 6, dtype=torch.float64))
    x = torch.randn(5, 6, dtype=torch.float64)
    for b in range(5):
        total = sum(layer.edge_functions(x[b, c : c + 1])[:, c, 0] for c in range(6))
        torch.testing.assert_close(total, layer(x[b]))


@pytest.mark.parametrize("standalone_scale", [True, False])
def test_training_keeps_the_input_and_the_knots(standalone_scale):
    """Also where weights are larger than the batch: s W_spline is computed again."""
    layer = EfficientKANLinear(32, 64, standalone_scale=standalone_scale)
    x = torch.randn(8, 32, requires_grad=True)
    kept = kept_bytes(lambda: layer(x), layer.parameters())
    assert kept <= x.nbytes + layer.grid.nbytes


@pytest.mark.parametrize(("dtype", "tolerance", "options"), [
    (torch.float64, 1e-11, {"spline_order": 0}),
    (torch.float64, 1e-11, {"spline_order": 4, "grid_size": 2, "standalone_scale": False}),
    (torch.float32, 1e-4, {"base": "tanh"}),
    (torch.bfloat16, 0.03, {"spline_order": 1, "grid_size": 1}),
], ids=str)  # fmt: skip
def test_compiled_kernels_compute_the_same(dtype, tolerance, options):
    """On knots that follow data, two of which are equal; also where x is beyond all of them."""
    torch.manual_seed(0)
    layer = EfficientKANLinear(19, 5, backend="cpp", **options)
    layer.update_grid(torch.randn(60, 19))
    with torch.no_grad():
        layer.spline_weight.normal_()
        layer.grid[3, 1] = layer.grid[3, 0]
    layer = layer.to(dtype)
    x = torch.randn(70, 19).to(dtype)
    x[:4, 3:6] = torch.tensor([torch.inf, 1e38, -1e38, -3.0]).to(dtype).unsqueeze(1)
    on_torch = copy.deepcopy(layer)
    on_torch.backend = "torch"
    for found, wanted in zip(step(layer, x), step(on_torch, x), strict=True):
        assert torch.equal(found.isfinite(), wanted.isfinite()) and found.dtype == wanted.dtype
        found, wanted = (t.double()[wanted.isfinite()] for t in (found, wanted))
        atol = tolerance * float(wanted.abs().max())
        torch.testing.assert_close(found, wanted, rtol=tolerance, atol=atol)


def step(layer, x):
    """The output, and the gradients of the input and of all that is learned."""
    x = x.clone().requires_grad_()
    y = layer(x)
    torch.manual_seed(1)
    grads = torch.autograd.grad(y, [x, *layer.parameters()], torch.randn(y.shape).to(y.dtype))
    return [y.detach(), *grads]


@pytest.mark.parametrize("backend", ["torch", "cpp"])
def test_beyond_the_knots_splines_are_zero(backend):
    layer = EfficientKANLinear(4, 3, base="tanh", backend=backend)
    with torch.no_grad():
        layer.base_weight.zero_()
    x = torch.tensor([torch.inf, -torch.inf, 3e38, -3e38]).expand(5, 4).clone().requires_grad_()
    y = layer(x)
    (grad,) = torch.autograd.grad(y.sum(), x)
    assert not y.any() and not grad.any()
    assert layer(torch.full((1, 4), torch.nan)).isnan().all()


def test_knots_that_are_learned_have_a_gradient_on_torch():
    layer = EfficientKANLinear(4, 3)
    layer.grid.requires_grad_()
    layer(torch.randn(5000, 4)).square().sum().backward()
    assert layer.grid.grad.any()
    layer.backend = "cpp"
    with pytest.raises(RuntimeError, match="no compiled formula"):
        layer(torch.randn(5, 4))


def test_memory_shapes_and_errors():
    layer = EfficientKANLinear(64, 64)
    assert layer(torch.randn(2, 3, 64)).shape == (2, 3, 64)
    with pytest.raises(ValueError, match=r"takes \(\.\.\., 64\)"):
        layer(torch.randn(2, 63))
    with pytest.raises(TypeError, match="int64"):
        layer(torch.zeros(2, 64, dtype=torch.int64))
    with pytest.raises(ValueError, match="did you mean 'silu'"):
        EfficientKANLinear(4, 4, base="sillu")
    with pytest.raises(ValueError, match="did you mean 'cpp'"):
        EfficientKANLinear(4, 4, backend="cp")
    with pytest.raises(ValueError, match="grid_eps=2"):
        EfficientKANLinear(4, 4, grid_eps=2)


def test_initial_splines_follow_small_noise():
    torch.manual_seed(0)
    layer = EfficientKANLinear(20, 30, standalone_scale=False)
    with torch.no_grad():
        layer.base_weight.zero_()
        values = layer.edge_functions(torch.linspace(-1, 0.999, 50))
    assert 0.002 < values.std() < 0.02


def test_network_moves_every_grid_to_its_input_and_sums_penalties():
    net, x = EfficientKAN([6, 5, 4], grid_size=8).double(), torch.randn(200, 6).double()
    y = net(x)
    before = [layer.grid.clone() for layer in net.layers]
    moved = net(x, update_grid=True)
    inputs = [x, net.layers[0](x)]
    for layer, grid, seen in zip(net.layers, before, inputs, strict=True):
        assert not torch.equal(layer.grid, grid)
        assert (layer.grid[:, layer.order] - seen.amin(0)).abs().max() < 0.05
    assert torch.equal(moved, net(x)) and y.shape == moved.shape
    terms = [layer.regularization_loss(2.0, 3.0) for layer in net.layers]
    torch.testing.assert_close(net.regularization_loss(2.0, 3.0), sum(terms))
    with pytest.raises(ValueError, match="an input and an output size"):
        EfficientKAN([6])
    x[3, 2] = float("nan")
    with pytest.raises(ValueError, match="NaN or infinite"):
        net(x, update_grid=True)
