"""Bases inside layers: gradients, what is kept for backward, compilation, shapes per channel."""

import copy
import pickle

import pytest
import torch
from oracle import BASES, ORDERS, gradients, naive_conv, plain_layer, shaped_basis

from conv_kan import Bottleneck, KANConv, KANLinear, create_basis, list_bases
from experiments.benchmarks.memory import kept_bytes

MINMAX = "legendre over the batch"  # the legacy squash
OTHERS = [name for name in [*list_bases(), MINMAX] if name not in BASES]


def make_basis(name):
    if name == MINMAX:
        return create_basis("legendre", squash="minmax")
    return shaped_basis(name, num_groups=2) if name == "rational" else shaped_basis(name)


def perturb(layer):
    """Move the learned shape away from its initial value."""
    with torch.no_grad():
        for p in layer.basis.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return layer


def make(name, **options):
    options = {"padding": 1, "stride": 2, "groups": 2, **options}
    return perturb(plain_layer(4, 6, 3, basis=make_basis(name), **options)).double()


def small_image(batch=2):
    return torch.randn(batch, 4, 4, 3, dtype=torch.float64)


@pytest.mark.parametrize("name", OTHERS)
def test_values_and_gradients_equal_the_formula(name):
    layer, x = make(name), small_image().requires_grad_()
    y, expected = layer(x), naive_conv(layer, x)
    torch.testing.assert_close(y, expected)
    sources, grad_y = [x, *layer.parameters()], torch.randn_like(y)
    found, wanted = gradients(y, grad_y, sources), gradients(expected, grad_y, sources)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("composed", [False, True])
def test_gradients_equal_finite_differences(name, composed):
    layer = make(name)
    names, parameters = zip(*layer.named_parameters(), strict=True)

    def call(x, *parameters):
        return torch.func.functional_call(layer, dict(zip(names, parameters, strict=True)), (x,))

    def call_composed(*inputs):
        return torch.func.vmap(lambda *one: call(*one))(*(i.unsqueeze(0) for i in inputs))

    inputs = (small_image().requires_grad_(), *parameters)
    assert torch.autograd.gradcheck(call_composed if composed else call, inputs, fast_mode=True)


@pytest.mark.parametrize("make_layer", [KANConv, Bottleneck, KANLinear])
@pytest.mark.parametrize("order", ["usual", "high"])
@pytest.mark.parametrize("name", [*list_bases(), MINMAX])
def test_little_is_kept_for_backward(name, order, make_layer):
    """A bottleneck's inner layer has 16 channels: 2.5 times its input too."""
    if name == MINMAX:
        basis = create_basis("legendre", squash="minmax", **ORDERS["legendre"])
    else:
        basis = create_basis(name, **(ORDERS[name] if order == "high" else {}))
    x = torch.randn(2, 64, 12, 12, requires_grad=True)
    if make_layer is KANLinear:
        x = torch.randn(512, 64, requires_grad=True)
        layer = KANLinear(64, 64, basis=basis)
    else:
        layer = make_layer(64, 64, 3, basis=basis, padding=1)
    kept = kept_bytes(lambda: layer(x), layer.parameters())
    inner = x.nbytes // 4 if make_layer is Bottleneck else 0
    assert kept <= 2.5 * (x.nbytes + inner)


@pytest.mark.parametrize("name", list_bases())
@pytest.mark.parametrize("ndim", [1, 3])
def test_little_is_kept_in_other_dimensions(name, ndim):
    x = torch.randn(2, 64, *(5, 6, 7)[:ndim], requires_grad=True)
    layer = KANConv(64, 64, 3, basis=name, padding=1, ndim=ndim)
    assert kept_bytes(lambda: layer(x), layer.parameters()) <= 2.5 * x.nbytes


@pytest.mark.parametrize("name", OTHERS)
def test_compiles_to_one_graph(name):
    torch._dynamo.reset()
    layer = make(name)
    x = small_image().requires_grad_()
    y = torch.compile(layer, backend="aot_eager", fullgraph=True)(x)
    expected = layer(x)
    torch.testing.assert_close(y, expected)
    sources, grad_y = [x, *layer.parameters()], torch.randn_like(y)
    found, wanted = gradients(y, grad_y, sources), gradients(expected, grad_y, sources)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("name", OTHERS)
def test_layers_start_with_variance_one_and_copy_well(name):
    torch.manual_seed(0)
    layer = KANConv(16, 256, 3, basis=_unshaped(name), norm=None, activation=None, groups=2)
    x = torch.randn(24, 16, 6, 6)
    with torch.no_grad():
        y = layer(x)
    if name != MINMAX:
        assert y.square().mean().item() == pytest.approx(1.0, rel=0.12)
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        torch.testing.assert_close(twin(x), y, rtol=0, atol=0)
    empty = torch.zeros(0, 16, 6, 6, requires_grad=True)
    layer(empty).sum().backward()
    assert empty.grad.shape == empty.shape


def _unshaped(name):
    return make_basis(name) if name == MINMAX else create_basis(name)


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_layers_in_half_precision(name, dtype):
    exact = make(name)
    layer, x = copy.deepcopy(exact).to(dtype), small_image().to(dtype).requires_grad_()
    exact.load_state_dict(layer.state_dict())
    y = layer(x)
    y.float().sum().backward()
    assert y.dtype == dtype and x.grad.dtype == dtype
    torch.testing.assert_close(y.double(), exact(x.double()), rtol=0.05, atol=0.05)
    assert all(p.grad.dtype == dtype and p.grad.isfinite().all() for p in layer.parameters())


def test_phases_of_the_relu_basis_belong_to_the_channels_of_a_group():
    layer = KANConv(6, 4, 3, basis="relu", groups=2)
    assert layer.basis.low.shape == (3, 8)
    assert KANLinear(6, 4, basis="relu").basis.high.shape == (6, 8)
    frozen = KANConv(6, 4, 3, basis=create_basis("relu", train_phases=False))
    frozen(torch.randn(1, 6, 4, 4)).sum().backward()
    assert frozen.basis.low.grad is None and set(frozen.state_dict()) >= {"basis.low", "basis.high"}
    shared = create_basis("relu")
    KANConv(6, 4, 3, basis=shared)
    assert shared.low.shape == (1, 8)
    with pytest.raises(ValueError, match="phases for 3 channels cannot serve 4"):
        KANConv(4, 4, 3, basis=layer.basis)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    layer(torch.randn(2, 6, 4, 4)).square().sum().backward()
    optimizer.step()
    layer.load_state_dict(copy.deepcopy(layer.state_dict()))


def test_rational_groups_must_divide_the_channels():
    layer = KANConv(6, 4, 3, basis=create_basis("rational", num_groups=3), groups=2)
    assert layer.basis.denominator.shape == (3, 4)
    with pytest.raises(ValueError, match="num_groups=4 does not divide 6"):
        KANConv(6, 4, 3, basis=create_basis("rational", num_groups=4))
    with pytest.raises(ValueError, match="pass a multiple of 4"):
        create_basis("rational", num_groups=4)(torch.randn(2, 6))


def legacy(x, groups):
    """P_1 as published, group by group."""
    parts = x.chunk(groups, dim=1)
    return torch.cat([2 * (p - p.min()) / (p.max() - p.min()) - 1 for p in parts], dim=1)


@pytest.mark.parametrize("groups", [1, 2])
def test_the_legacy_squash_reads_the_whole_batch_of_a_group(groups):
    basis = create_basis("legendre", squash="minmax", scale="none", degree=2)
    basis.bind(4, groups)
    x = torch.randn(3, 4, 5, dtype=torch.float64, requires_grad=True)
    z, phi = legacy(x, groups), basis(x)
    torch.testing.assert_close(phi[:, 1::3], z)
    torch.testing.assert_close(phi[:, 2::3], 1.5 * z**2 - 0.5)
    grad = torch.randn_like(phi)
    (found,) = torch.autograd.grad(phi, x, grad)
    (wanted,) = torch.autograd.grad([z, 1.5 * z**2], x, [grad[:, 1::3], grad[:, 2::3]])
    torch.testing.assert_close(found, wanted)
    assert not torch.allclose(basis(x[:1]), phi[:1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_legacy_squash_survives_constant_and_extreme_input(dtype):
    basis = create_basis("legendre", squash="minmax")
    for x in (torch.full((2, 3, 4), 2.5), torch.tensor([[[-1e4, 0.0, 1e4]]])):
        x = x.to(dtype).requires_grad_()
        phi = basis(x)
        phi.float().sum().backward()
        assert phi.isfinite().all() and x.grad.isfinite().all()
    assert basis(torch.zeros(0, 3, 4)).shape == (0, 12, 4)


def test_binding_changes_no_value():
    torch.testing.assert_close(
        create_basis("relu")(torch.ones(1, 6, 2)),
        KANConv(6, 2, 1, basis="relu").basis(torch.ones(1, 6, 2)),
    )
