"""The op against the naive formula and against finite differences, in every surrounding."""

import copy
import pickle

import pytest
import torch
from oracle import BASES, IMAGE, gradients, naive_conv, plain_layer, shaped_basis
from torch.utils.checkpoint import checkpoint

from conv_kan import KANConv
from conv_kan.ops import expand_conv as expand_conv_module
from conv_kan.ops.cpp import expand as cpp_expand
from conv_kan.ops.maths.plan import Plan
from conv_kan.ops.maths.tiling import expansion_limit, sample_tiles
from conv_kan.ops.plain import expand as expand_module
from tests import forks

GEOMETRIES = {
    "plain": {"kernel_size": 3},
    "padded": {"kernel_size": 3, "padding": 1},
    "strided": {"kernel_size": 3, "padding": 2, "stride": 2, "dilation": 2, "groups": 2},
    "even-same": {"kernel_size": 2, "padding": "same", "groups": 2},
    "pointwise": {"kernel_size": 1, "padding": 1},
    "sparse": {"kernel_size": 1, "stride": 2},
}


def make(name, ndim=2, geometry="padded", base="silu", dtype=torch.float64, **basis):
    options = dict(GEOMETRIES[geometry])
    kernel = options.pop("kernel_size")
    basis = shaped_basis(name, **basis)
    return plain_layer(4, 6, kernel, basis=basis, ndim=ndim, base=base, **options).to(dtype)


def image(ndim=2, batch=2, dtype=torch.float64, **options):
    return torch.randn(batch, 4, *IMAGE[:ndim], dtype=dtype, **options)


def assert_matches_oracle(layer, x, rtol=1e-9, atol=1e-9):
    x = x.detach().requires_grad_()
    sources = [x, *layer.parameters()]
    y, expected = layer(x), naive_conv(layer, x)
    torch.testing.assert_close(y, expected, rtol=rtol, atol=atol)
    grad_y = torch.randn_like(expected)
    for found, wanted in zip(
        gradients(y, grad_y, sources), gradients(expected, grad_y, sources), strict=True
    ):
        torch.testing.assert_close(found, wanted, rtol=rtol, atol=atol)
    return y


@pytest.mark.parametrize("name", BASES)
@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_values_and_gradients_equal_the_formula(name, ndim, geometry):
    assert_matches_oracle(make(name, ndim, geometry), image(ndim))


SPARSE = """
import torch
from conv_kan import KANConv

torch.manual_seed(0)
for channels in (1, 2, 3):
    layer = KANConv(channels, 4, 1, stride=2, basis="gram")
    for layout in (torch.contiguous_format, torch.channels_last):
        x = torch.randn(8, channels, 48, 48).contiguous(memory_format=layout).requires_grad_()
        for _ in range(5):
            y = layer(x)
            y.square().mean().backward()
        assert channels == 1 or y.is_contiguous(memory_format=layout)
        assert x.grad[:, :, ::2, ::2].abs().min() > 0
        x.grad[:, :, ::2, ::2] = 0
        assert x.grad.abs().max() == 0
"""


def test_a_strided_window_of_one_tap_writes_nowhere_else():
    """oneDNN's gradient of the weight does, with few channels that are last in memory: the process
    ended there, if it was lucky."""
    (done,) = forks.run("-c", SPARSE)
    assert done.returncode == 0, done


@pytest.mark.parametrize("base", ["identity", "gelu", None])
def test_base_branches(base):
    assert_matches_oracle(make("gram", base=base), image())


@pytest.mark.parametrize("options", [{"spline_order": 0}, {"scale": "none"}])
def test_bases_without_gradient_or_scale(options):
    layer, x = make("bspline", base="silu", **options), image()
    assert_matches_oracle(layer, x)
    alone = make("bspline", base=None, spline_order=0)
    (grad,) = torch.autograd.grad(alone(x.requires_grad_()).sum(), x)
    assert torch.count_nonzero(grad) == 0


@pytest.mark.parametrize("name", BASES)
@pytest.mark.parametrize(
    ("ndim", "geometry"), [(1, "strided"), (2, "strided"), (2, "padded"), (3, "strided")]
)
def test_gradients_equal_finite_differences(name, ndim, geometry):
    layer = make(name, ndim, geometry)
    names, parameters = zip(*layer.named_parameters(), strict=True)
    x = (0.3 * torch.randn(2, 4, *(4, 3, 3)[:ndim], dtype=torch.float64)).requires_grad_()

    def call(x, *parameters):
        return torch.func.functional_call(layer, dict(zip(names, parameters, strict=True)), (x,))

    assert torch.autograd.gradcheck(call, (x, *parameters), fast_mode=True)


def test_small_tiles_change_nothing(monkeypatch):
    for limit in (1, 10, 100, 500):
        monkeypatch.setattr(expand_module, "_TILE_CPU", limit)
        for geometry in ("strided", "even-same"):
            assert_matches_oracle(make("gram", 3, geometry), image(3))
            assert_matches_oracle(make("bspline", 1, geometry), image(1))


def test_constant_functions_stop_at_the_border():
    layer = plain_layer(1, 1, 3, basis="legendre", base=None, padding=1)
    with torch.no_grad():
        layer.basis_weight.zero_()
        layer.basis_weight[:, :, 0] = 1.0
    y = layer(torch.randn(3, 1, 4, 5)) / layer.basis.scale
    taps = torch.tensor([[4.0, 6, 6, 6, 4], [6, 9, 9, 9, 6], [6, 9, 9, 9, 6], [4, 6, 6, 6, 4]])
    torch.testing.assert_close(y, taps.expand(3, 1, 4, 5))


def test_only_asked_for_gradients_are_made():
    layer, x = make("gram"), image()
    layer(x).sum().backward()  # the first layer of a model: x needs no gradient
    everything = {name: p.grad for name, p in layer.named_parameters()}
    assert all(grad is not None for grad in everything.values())
    for frozen in everything:
        other = copy.deepcopy(layer)
        other.zero_grad()
        other.get_parameter(frozen).requires_grad_(False)
        x_leaf = x.clone().requires_grad_()
        other(x_leaf).sum().backward()
        assert x_leaf.grad is not None
        for name, p in other.named_parameters():
            if name == frozen:
                assert p.grad is None
            else:
                torch.testing.assert_close(p.grad, everything[name])
    layer.requires_grad_(False)
    assert not layer(x).requires_grad
    (grad,) = torch.autograd.grad(layer(x.requires_grad_()).sum(), x)
    (wanted,) = torch.autograd.grad(naive_conv(layer, x).sum(), x)
    torch.testing.assert_close(grad, wanted)


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("geometry", ["padded", "even-same"])
def test_channels_last_stays_channels_last(ndim, geometry):
    last = {2: torch.channels_last, 3: torch.channels_last_3d}[ndim]
    layer = make("gram", ndim, geometry).to(memory_format=last)
    x = image(ndim).to(memory_format=last).requires_grad_()
    assert_matches_oracle(layer, x)
    y = layer.float()(x.float())  # torch's float64 convolution in 3D returns contiguous maps
    assert y.is_contiguous(memory_format=last) and not y.is_contiguous()


@pytest.mark.parametrize("change", ["transposed", "strided", "expanded"])
def test_inputs_of_any_stride(change):
    layer = make("gram")
    x = {
        "transposed": image().transpose(2, 3),
        "strided": torch.randn(4, 8, 9, 9, dtype=torch.float64)[::2, ::2, 1:, ::3],
        "expanded": torch.randn(1, 4, 1, 5, dtype=torch.float64).expand(3, 4, 5, 5),
    }[change]
    assert_matches_oracle(layer, x)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["gram", "bspline"])
def test_half_precision_models(name, dtype):
    exact = make(name)
    layer, x = copy.deepcopy(exact).to(dtype), image().to(dtype).requires_grad_()
    exact.load_state_dict(layer.state_dict())
    y = layer(x)
    y.float().sum().backward()
    assert y.dtype == dtype and x.grad.dtype == dtype
    torch.testing.assert_close(y.double(), exact(x.double()), rtol=0.05, atol=0.05)
    assert all(p.grad.dtype == dtype and p.grad.isfinite().all() for p in layer.parameters())


@pytest.mark.parametrize("where", ["forward", "both"])
def test_autocast_convolves_in_half_and_keeps_float_gradients(where):
    layer, x = make("gram", dtype=torch.float32), image(dtype=torch.float32).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = layer(x)
        if where == "both":
            y.float().sum().backward()
    if where == "forward":
        y.float().sum().backward()
    assert y.dtype == torch.bfloat16
    assert x.grad.dtype == torch.float32
    assert all(p.grad.dtype == torch.float32 for p in layer.parameters())
    torch.testing.assert_close(y.float(), naive_conv(layer, x), rtol=0.05, atol=0.05)
    found = x.grad.clone()
    (wanted,) = torch.autograd.grad(naive_conv(layer, x).sum(), x)
    torch.testing.assert_close(found, wanted, rtol=0.1, atol=0.1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        double = make("gram", dtype=torch.float64)
        assert double(image()).dtype == torch.float64


def test_empty_batch():
    layer = KANConv(4, 6, 3, padding=1).double()
    x = image(batch=0).requires_grad_()
    y = layer(x)
    assert y.shape == (0, 6, 7, 6)
    y.sum().backward()
    assert x.grad.shape == x.shape
    assert torch.count_nonzero(layer.basis_weight.grad) == 0


def test_torch_func_sees_a_differentiable_function():
    layer, x = make("gram", geometry="plain"), image()
    parameters = dict(layer.named_parameters())

    def loss(parameters, x):
        return torch.func.functional_call(layer, parameters, (x,)).square().mean()

    found = torch.func.grad(loss)(parameters, x)
    layer(x).square().mean().backward()
    for name, p in layer.named_parameters():
        torch.testing.assert_close(found[name], p.grad)
    per_sample = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(
        parameters, x.unsqueeze(1)
    )
    torch.testing.assert_close(per_sample["basis_weight"].mean(0), found["basis_weight"])
    hessian = torch.func.hessian(lambda b: loss({**parameters, "basis.beta": b}, x))
    assert hessian(parameters["basis.beta"]).isfinite().all()


def test_functional_call_uses_the_given_parameters():
    layer, x = KANConv(4, 6, 3).double(), image()
    other = {name: torch.randn_like(p) for name, p in layer.named_parameters()}
    copied = copy.deepcopy(layer)
    copied.load_state_dict({**layer.state_dict(), **other})
    torch.testing.assert_close(torch.func.functional_call(layer, other, (x,)), copied(x))


@pytest.mark.parametrize("name", BASES)
def test_compiles_to_one_graph(name):
    torch._dynamo.reset()
    layer = KANConv(4, 6, 3, basis=shaped_basis(name), padding=1, groups=2).double()
    twin = copy.deepcopy(layer)
    x = image().requires_grad_()
    y = torch.compile(layer, backend="aot_eager", fullgraph=True)(x)
    expected = twin(x)
    torch.testing.assert_close(y, expected)
    grad_y = torch.randn_like(y)
    found = gradients(y, grad_y, [x, *layer.parameters()])
    wanted = gradients(expected, grad_y, [x, *twin.parameters()])
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other)
    torch.testing.assert_close(layer.norm.running_var, twin.norm.running_var)


@pytest.mark.parametrize("use_reentrant", [True, False])
def test_activation_checkpointing(use_reentrant):
    layer, x = KANConv(4, 6, 3, padding=1, norm="layer").double(), image().requires_grad_()
    layer(x).square().sum().backward()
    wanted, x.grad = x.grad, None
    checkpoint(layer, x, use_reentrant=use_reentrant).square().sum().backward()
    torch.testing.assert_close(x.grad, wanted)


def test_compiles_under_autocast():
    torch._dynamo.reset()
    layer, x = KANConv(4, 6, 3, padding=1), torch.randn(2, 4, 7, 6)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        expected = layer(x)
        y = torch.compile(layer, backend="aot_eager", fullgraph=True)(x)
    assert y.dtype == expected.dtype == torch.bfloat16
    torch.testing.assert_close(y, expected, rtol=0.05, atol=0.05)


def test_exports():
    layer = KANConv(4, 6, 3, padding=1).eval()
    x = torch.randn(2, 4, 7, 6)
    program = torch.export.export(layer, (x,))
    torch.testing.assert_close(program.module()(x), layer(x))


@pytest.mark.parametrize("name", BASES)
def test_copies_and_pickles_compute_the_same(name):
    layer = KANConv(4, 6, 3, basis=shaped_basis(name), activation="prelu").eval()
    x = torch.randn(2, 4, 7, 6)
    y = layer(x)
    y.sum().backward()
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        torch.testing.assert_close(twin(x), y, rtol=0, atol=0)
        with torch.no_grad():
            for p in twin.parameters():
                p.zero_()
        assert not torch.equal(twin(x), y)
    torch.testing.assert_close(layer(x), y, rtol=0, atol=0)


def test_dtype_mismatch_says_what_to_type():
    layer = make("gram", dtype=torch.float32)
    with pytest.raises(TypeError, match=r"x\.to\(torch\.float32\)"):
        layer(image())
    with pytest.raises(TypeError, match=r"float\(\) / 255"):
        layer(torch.zeros(1, 4, 5, 5, dtype=torch.uint8))


@pytest.mark.parametrize("backend", ["torch", "cpp"])
@pytest.mark.parametrize("last", [False, True])
def test_a_limit_on_the_expansion_changes_nothing_but_memory(backend, last, monkeypatch):
    layer = KANConv(4, 6, 3, padding=1, basis="relu", norm_position="input", backend=backend)
    layer = layer.double()
    layer.dropout, layer.dropout_position = 0.3, "functions"
    x = image(batch=7)
    x = x.to(memory_format=torch.channels_last) if last else x
    sizes = []

    def watch(module, name):
        def watched(*arguments):
            buffer = real(*arguments)
            sizes.append(buffer.nbytes)
            return buffer

        real = getattr(module, name)
        monkeypatch.setattr(module, name, watched)

    watch(expand_module, "empty_buffer"), watch(cpp_expand, "empty_buffer")
    watch(expand_conv_module, "_buffer_grad")

    def step():
        torch.manual_seed(0)
        leaf = x.clone(memory_format=torch.preserve_format).requires_grad_()
        y = layer(leaf)
        return y, leaf

    def finish(y, leaf):
        torch.manual_seed(1)
        return [y, *gradients(y, torch.randn(y.shape).double(), [leaf, *layer.parameters()])]

    wanted = finish(*step())
    whole = max(sizes)
    sizes.clear()
    with expansion_limit(whole // 3):
        y, leaf = step()
    for one, other in zip(finish(y, leaf), wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)
    assert 0 < max(sizes) <= whole // 3
    with expansion_limit(1):  # one sample at a time
        assert (
            len(sample_tiles(x, Plan(layer.expansion, layer.geometry, x.dtype, x.shape[2:]))) == 7
        )
    with pytest.raises(ValueError, match="num_bytes=0 must be at least 1"), expansion_limit(0):
        pass


def test_exports_for_any_image_size_behind_strides():
    net = torch.nn.Sequential(
        KANConv(2, 3, 3, padding=1, stride=2),
        KANConv(3, 3, 3, padding=1, stride=2),
        KANConv(3, 3, 3, padding=1),
    )
    net = net.double().eval()
    height, width = (torch.export.Dim(axis, min=8, max=512) for axis in "HW")
    x = torch.randn(2, 2, 32, 40, dtype=torch.float64)
    program = torch.export.export(net, (x,), dynamic_shapes={"input": {2: height, 3: width}})
    for size in ((32, 40), (17, 23), (64, 9)):
        x = torch.randn(2, 2, *size, dtype=torch.float64)
        torch.testing.assert_close(program.module()(x), net(x), rtol=1e-9, atol=1e-9)
