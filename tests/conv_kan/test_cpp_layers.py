"""Layers on the C++ backend compute what they compute on torch, in every surrounding."""

import copy
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from oracle import gradients
from torch import nn
from torch.utils.checkpoint import checkpoint

from conv_kan import Bottleneck, KANConv, KANLinear, WavKANConv, WavKANLinear
from conv_kan.families import FAMILIES
from conv_kan.layers.activation import Activation
from conv_kan.ops import norm_act as module
from conv_kan.ops.maths.wavelets import WAVELETS
from conv_kan.ops.norm_act import norm_act


def on_torch(layer):
    twin = copy.deepcopy(layer)
    for part in twin.modules():
        if hasattr(part, "backend"):
            part.backend = "torch"
    return twin


def step(layer, x):
    x = x.clone().requires_grad_()
    y = layer(x)
    torch.manual_seed(5)
    found = gradients(y, torch.randn(y.shape).to(y.dtype), [x, *layer.parameters()])
    return [t.detach() for t in (y, *found, *layer.buffers())]


def assert_same(layer, x, tolerance):
    twin = on_torch(layer)
    torch.manual_seed(4)  # of a dropout
    result = step(layer, x)
    torch.manual_seed(4)
    for found, wanted in zip(result, step(twin, x), strict=True):
        atol = tolerance * (1.0 + float(wanted.abs().max()))
        torch.testing.assert_close(found, wanted, rtol=tolerance, atol=atol)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("family", FAMILIES)
def test_families(family, layout):
    torch.manual_seed(0)
    layer = FAMILIES[family].conv(12, 8, 3, padding=1, groups=2, backend="cpp")
    x = torch.randn(3, 12, 7, 6).contiguous(memory_format=layout)
    assert_same(layer, x, 1e-4)
    assert_same(layer.eval(), x, 1e-4)


@pytest.mark.parametrize(
    "options",
    [
        {"padding": "same", "dropout": 0.3, "dropout_position": "functions"},
        {"padding": 2, "stride": 2, "dilation": 2},
    ],
)
def test_options(options):
    torch.manual_seed(0)
    layer = KANConv(12, 8, 2, backend="cpp", **options)
    assert_same(layer, torch.randn(3, 12, 7, 6), 1e-4)


def test_linear_and_bottleneck_layers():
    torch.manual_seed(0)
    assert_same(KANLinear(12, 8, norm="batch", backend="cpp"), torch.randn(5, 12), 1e-4)
    assert_same(Bottleneck(32, 32, 3, padding=1, backend="cpp"), torch.randn(2, 32, 7, 6), 1e-4)
    assert Bottleneck(32, 32, 3, backend="cpp").inner.backend == "cpp"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast(dtype):
    torch.manual_seed(0)
    layer, x = KANConv(12, 8, 3, padding=1, backend="cpp"), torch.randn(3, 12, 7, 6)
    exact = step(on_torch(layer), x)
    with torch.autocast("cpu", dtype=dtype):
        found = step(layer, x)
    assert found[0].dtype == dtype and found[1].dtype == torch.float32
    for one, other in zip(found, exact, strict=True):
        atol = 0.05 * (1.0 + float(other.abs().max()))
        torch.testing.assert_close(one.to(other.dtype), other, rtol=0.05, atol=atol)


def test_surroundings_that_need_differentiable_operations():
    torch._dynamo.reset()
    torch.manual_seed(0)
    layer, x = KANConv(12, 8, 3, padding=1, backend="cpp"), torch.randn(3, 12, 7, 6)
    compiled = torch.compile(copy.deepcopy(layer), backend="aot_eager", fullgraph=True)
    for found, wanted in zip(step(compiled, x), step(layer, x), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-3)
    program = torch.export.export(layer.eval(), (x,))
    torch.testing.assert_close(program.module()(x), layer(x), rtol=1e-4, atol=1e-4)
    jacobian = torch.func.jacrev(layer)(x[:1])
    assert jacobian.isfinite().all()


def test_activation_checkpointing():
    torch.manual_seed(0)
    layer = KANConv(12, 8, 3, padding=1, norm="instance", backend="cpp")
    x = torch.randn(3, 12, 7, 6, requires_grad=True)
    layer(x).square().sum().backward()
    wanted, x.grad = x.grad, None
    checkpoint(layer, x, use_reentrant=False).square().sum().backward()
    assert torch.equal(x.grad, wanted)


def test_training_is_bit_for_bit_the_same_again():
    def train():
        torch.manual_seed(0)
        layer = KANConv(16, 16, 3, padding=1, basis="relu", backend="cpp")
        optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
        for _ in range(3):
            layer(torch.randn(4, 16, 24, 24)).square().mean().backward()
            optimizer.step()
        return list(layer.state_dict().values())

    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert all(map(torch.equal, train(), train()))
    finally:
        torch.set_num_threads(threads)


NORMS = {
    "batch": lambda: nn.BatchNorm2d(20),
    "batch-cumulative": lambda: nn.BatchNorm2d(20, momentum=None),
    "batch-plain": lambda: nn.BatchNorm2d(20, affine=False),
    "batch-untracked": lambda: nn.BatchNorm2d(20, track_running_stats=False),
    "instance": lambda: nn.InstanceNorm2d(20),
    "instance-affine": lambda: nn.InstanceNorm2d(20, affine=True),
    "group": lambda: nn.GroupNorm(5, 20),
}


def norm_step(norm, act, y, backend):
    y = y.clone().requires_grad_()
    a = norm_act(y, norm, act.function, act.params, act.name, backend)
    torch.manual_seed(6)
    sources = [y, *norm.parameters(), *act.params]
    found = gradients(a, torch.randn(a.shape).to(a.dtype), sources)
    return [t.detach() for t in (a, *found, *norm.buffers())]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("activation", ["silu", "prelu", "identity"])
@pytest.mark.parametrize("kind", NORMS)
def test_norm_and_activation(kind, activation, layout):
    torch.manual_seed(0)
    norm, act = NORMS[kind]().double(), Activation(activation, groups=2).double()
    for p in norm.parameters():
        nn.init.normal_(p, mean=1.0, std=0.3)
    assert module.fuses(torch.zeros(1, 20, 2, 2, dtype=torch.float64), activation, "cpp")
    for training in (True, True, False):
        norm.train(training)
        y = 3.0 * torch.randn(3, 20, 7, 5, dtype=torch.float64) + 2.0
        y = y.contiguous(memory_format=layout)
        wanted = norm_step(copy.deepcopy(norm), act, y, "torch")
        for found, other in zip(norm_step(norm, act, y, "cpp"), wanted, strict=True):
            torch.testing.assert_close(found, other, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_norm_is_as_exact_as_that_of_torch(dtype):
    torch.manual_seed(0)
    y = (torch.randn(4, 20, 9, 7) + 30.0).to(dtype)
    act = Activation("silu")
    exact = norm_step(NORMS["batch"]().double(), act, y.double(), "torch")[:2]
    plain = norm_step(NORMS["batch"](), act, y, "torch")[:2]
    found = norm_step(NORMS["batch"](), act, y, "cpp")[:2]
    for mine, other, true in zip(found, plain, exact, strict=True):
        error, allowed = (float((t.double() - true).abs().max()) for t in (mine, other))
        assert mine.dtype == dtype
        assert error <= 2.0 * allowed + 1e-6 * float(true.abs().max())


@pytest.mark.parametrize("wavelet", WAVELETS)
def test_wavelets(wavelet):
    torch.manual_seed(0)
    options = {"wavelet": wavelet, "backend": "cpp", "norm": None}
    layers = [
        (WavKANConv(8, 6, 3, padding=1, groups=2, stride=2, mix=False, **options), (3, 8, 7, 9)),
        (WavKANConv(8, 6, 2, padding="same", **options), (3, 8, 7, 9)),
        (WavKANLinear(5, 6, **options), (4, 5)),
    ]
    for layer, size in layers:
        with torch.no_grad():
            layer.translation.normal_()
            layer.scale.uniform_(0.5, 2.0)
        assert_same(layer, torch.randn(size), 1e-4)
    assert_same(layers[0][0].double(), torch.randn(3, 8, 7, 9, dtype=torch.float64), 1e-9)


def test_threads_have_buffers_of_their_own():
    torch.manual_seed(0)
    layers = [KANConv(16, 8, 3, backend=backend) for backend in ("cpp", "torch")]
    images = [torch.randn(n, 16, 24, 24) for n in (4, 3, 6)]
    with torch.inference_mode():
        wanted = [layer(x) for layer in layers for x in images]

    def call(layer, x):
        return [layer(x).detach() for _ in range(5)]

    with ThreadPoolExecutor(4) as pool:
        work = [pool.submit(call, layer, x) for layer in layers for x in images]
        for future, y in zip(work, wanted, strict=True):
            for found in future.result():
                torch.testing.assert_close(found, y)
