"""The cupy backend: who gets it, what it says where it cannot run, operators, training."""

import copy
import logging
import subprocess
import sys
import types
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from conv_kan import KANConv
from conv_kan.layers.rational import GroupRational
from conv_kan.layers.wavkan import WavKANConv
from conv_kan.ops import backend
from conv_kan.ops.cupy import launch as cupy_launch
from conv_kan.ops.cupy import rational as cupy_rational
from conv_kan.ops.cupy import sources as cupy_sources
from tests.cuda_on_cpu import nvrtc
from tests.cuda_on_cpu.executor import Executor

NO_GPU = not torch.cuda.is_available()
LAYERS = {
    "KANConv": lambda **kw: KANConv(4, 4, 3, padding=1, basis="gram", **kw),
    "WavKANConv": lambda **kw: WavKANConv(4, 4, 3, padding=1, **kw),
    "GroupRational": lambda **kw: GroupRational(2, channels_last=False, **kw),
}


@pytest.mark.skipif(not NO_GPU, reason="this machine has a GPU")
@pytest.mark.parametrize("name", LAYERS)
def test_without_a_gpu_an_explicit_cupy_names_reason_and_remedy(name):
    layer = LAYERS[name](backend="cupy")
    assert "backend='cupy'" in repr(layer)
    assert not any("backend" in key for key in layer.state_dict())
    with pytest.raises(RuntimeError, match=r"sees no CUDA device.*pass backend="):
        layer(torch.randn(2, 4, 8, 8))


@pytest.mark.skipif(not NO_GPU, reason="this machine has a GPU")
def test_auto_says_once_why_torch_computes(monkeypatch, caplog):
    monkeypatch.setitem(backend._COMPILED, "cpu", "cupy")  # as if the input were on a GPU
    monkeypatch.setattr(backend, "_WORTH_COMPILING", 1)
    backend._say_once.cache_clear()
    x = torch.randn(2, 4, 8, 8)
    layer = KANConv(4, 4, 3, padding=1, basis="gram")
    with caplog.at_level(logging.WARNING, "conv_kan"):
        found = layer(x), layer(x)
    (message,) = caplog.messages
    assert "'torch' in place of 'cupy'" in message
    assert "no CUDA device" in message
    layer.backend = "torch"
    torch.testing.assert_close(found[1], layer(x), rtol=1e-5, atol=1e-5)


def test_nothing_imports_cupy_until_asked():
    code = (
        "import sys, torch, conv_kan, conv_kan.published, models\n"
        "from conv_kan.ops.cupy import expand, rational, wavelet\n"
        "conv_kan.KANConv(2, 2, 3, basis='gram')(torch.randn(1, 2, 4, 4)).sum().backward()\n"
        "sys.exit('cupy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_reasons_name_the_dtype_and_a_missing_cupy(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert "torch.int64" in cupy_launch.why_not(torch.int64)
    cupy_launch._problem.cache_clear()
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert "cupy cannot be imported" in cupy_launch.why_not(torch.float32)
    cupy_launch._problem.cache_clear()


def test_a_cupy_that_cannot_compile_is_a_reason_too(monkeypatch):
    """For example one that was installed without CUDA's headers."""

    class RawModule:
        def __init__(self, code, options, name_expressions):
            assert "rational_forward" in code and "rational_forward" in name_expressions[0]

        def get_function(self, expression):
            raise ValueError("cannot open source file cuda_fp16.h\nmore lines")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setitem(sys.modules, "cupy", types.SimpleNamespace(RawModule=RawModule))
    cupy_launch._problem.cache_clear()
    assert cupy_launch.why_not(torch.float32) == (
        "cupy cannot compile a kernel (ValueError: cannot open source file cuda_fp16.h). Type pip "
        "install 'cupy-cuda13x[ctk]' (or 'cupy-cuda12x[ctk]', after the CUDA release of "
        "torch.version.cuda), which brings CUDA's headers too."
    )
    cupy_launch._problem.cache_clear()


def test_the_kernel_that_tells_whether_cupy_compiles_does():
    nvrtc.compile_kernels([cupy_launch._SMALLEST], 90)


def test_the_compiled_text_holds_every_header():
    text = cupy_sources.read_source("expand.cu")
    for name in ("platform.cuh", "activations.cuh", "bases.cuh", "memory.cuh", "reduce.cuh"):
        assert text.count(f'#line 1 "{name}"') == 1
    assert '#include "' not in text


def test_launches_pass_addresses_numbers_and_the_stream(monkeypatch):
    """The lines that only a GPU runs, with stand-ins for CuPy and the device."""
    calls = []

    class RawModule:
        def __init__(self, code, options, name_expressions):
            assert "expand_forward" in code and options[0] == "-std=c++17"
            assert "-DKAN_DEGREE=3" in options

        def get_function(self, expression):
            return lambda *args, **kwargs: calls.append((expression, args, kwargs))

    device = types.SimpleNamespace(Device=lambda index: nullcontext())
    fake = types.SimpleNamespace(RawModule=RawModule, cuda=device)
    monkeypatch.setitem(sys.modules, "cupy", fake)
    monkeypatch.setattr(torch.cuda, "device", lambda device: nullcontext())
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    stream = types.SimpleNamespace(cuda_stream=77)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: stream)
    x = torch.zeros(3)
    kernel = cupy_sources.Kernel("expand.cu", "kan::f<int>", (("KAN_DEGREE", "3"),))
    cupy_launch._compiled.cache_clear()
    cupy_launch.launch(kernel, 5, [x, None, np.int32(3)], "cuda:0")
    cupy_launch._compiled.cache_clear()
    ((expression, args, kwargs),) = calls
    assert expression == "kan::f<int>"
    assert args == ((5,), (256,), (x.data_ptr(), None, 3))
    assert kwargs["stream"].ptr == 77


# --------------------------------------------------------------------------------------- operators
@pytest.fixture
def executor(monkeypatch):
    return Executor(checked=False).install(monkeypatch)


def rational_inputs(dtype=torch.float32):
    torch.manual_seed(0)
    shapes = ((3, 2, 8), (6,), (2, 4))
    return [torch.randn(s).to(dtype).requires_grad_() for s in shapes]


def test_rational_operators_are_registered_as_torch_asks(executor):
    x, a, b = rational_inputs()
    torch.library.opcheck(cupy_rational.rational, (x, a, b))
    inputs = [t.detach() for t in (torch.randn(3, 2, 8), x, a, b)]
    torch.library.opcheck(cupy_rational.rational_backward, tuple(inputs))


def test_rational_passes_gradcheck(executor):
    assert torch.autograd.gradcheck(cupy_rational.rational, rational_inputs(torch.float64))


@pytest.mark.parametrize("name", ["GroupRational", "WavKANConv"])
def test_operators_compile_into_one_graph(executor, name):
    layer = LAYERS[name](backend="cupy")
    compiled = torch.compile(copy.deepcopy(layer), fullgraph=True, backend="aot_eager")
    x = torch.randn(2, 4, 6, 6, requires_grad=True)
    y = layer(x)
    torch.testing.assert_close(compiled(x), y, rtol=1e-5, atol=1e-5)
    assert executor.launches


def test_autocast_expands_into_its_dtype(executor):
    layer = LAYERS["KANConv"](backend="cupy", norm=None)
    x = torch.randn(2, 4, 6, 6, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x)
    y.float().sum().backward()
    assert y.dtype == torch.bfloat16 and x.grad.dtype == torch.float32
    assert all("<float, __nv_bfloat16" in e.kernel.expression for e in executor.launches)


# ---------------------------------------------------------------------------------------- training
def train(backend_name, dtype, steps=30):
    """The losses of a small network on 8 x 8 digits."""
    torch.manual_seed(0)
    images, labels = load_digits(return_X_y=True)
    network = nn.Sequential(
        KANConv(1, 4, 3, stride=2, basis="gram", backend=backend_name),
        GroupRational(2, channels_last=False, backend=backend_name),
        KANConv(4, 6, 3, basis="relu", backend=backend_name),
        WavKANConv(6, 4, 1, backend=backend_name),
        nn.Flatten(),
        nn.Linear(4, 10),
    ).to(dtype)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.005)
    losses = []
    for step in range(steps):
        rows = slice(step * 32, step * 32 + 32)
        x = torch.tensor(images[rows], dtype=dtype).view(-1, 1, 8, 8) / 16
        loss = nn.functional.cross_entropy(network(x), torch.tensor(labels[rows]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


SINGLE = pytest.param(torch.float32, 1e-5, marks=pytest.mark.slow)


@pytest.mark.parametrize(("dtype", "bound"), [SINGLE, (torch.float64, 1e-12)])
def test_thirty_steps_agree_with_torch(monkeypatch, dtype, bound):
    plain = train("torch", dtype)
    executor = Executor(checked=False).install(monkeypatch)
    kernels = train("cupy", dtype)
    names = {launch.name for launch in executor.launches}
    assert {"expand_forward", "expand_backward", "rational_backward", "wavelet_forward"} <= names
    torch.testing.assert_close(kernels, plain, rtol=0, atol=bound)
    assert plain[-1] < plain[0]


def test_windows_too_large_for_a_thread_are_refused_or_left_to_torch(executor):
    def convolve(backend_name):
        torch.manual_seed(0)
        layer = WavKANConv(2, 2, 13, padding=6, norm=None, backend=backend_name)
        return layer(torch.randn(1, 2, 4, 4))

    with pytest.raises(RuntimeError, match=r"at most 125 positions.*Pass backend='auto'"):
        convolve("cupy")
    assert convolve("torch").shape == (1, 2, 4, 4)
    assert not executor.launches
