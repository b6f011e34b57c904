"""One table of layers, and every surrounding that each of them must work in."""

import copy
import io
import pickle
from functools import partial
from pathlib import Path

import pytest
import torch

from conv_kan import (
    KAN,
    Bottleneck,
    BottleneckLinear,
    EfficientKAN,
    EfficientKANLinear,
    FocalModulation,
    GroupRational,
    KAConv,
    KANConv,
    KANLinear,
    MixtureOfExperts,
    SelfAttention,
    WavKANConv,
    WavKANLinear,
)
from conv_kan.layers.shuffled import ShuffledKANConv
from experiments.benchmarks.memory import kept_bytes
from tests import forks

C = 8


def pointwise(c_in, c_out):
    return KANConv(c_in, c_out, 1)


def expert():
    return KANConv(C, C, 3, padding=1, norm="layer")


def pre_gated(c_in, c_out, kernel_size, **options):
    def expert():
        return KANConv(c_in, c_out, kernel_size, **options)

    gate = KANLinear(c_in, c_in)
    return MixtureOfExperts(c_in, expert=expert, num_experts=3, noisy=False, pre_gate=gate)


# name: (constructor, spatial dimensions, what it may keep for backward in multiples of its input)
LAYERS = {
    "conv1d": (partial(KANConv, C, C, 3, ndim=1, padding=1), 1, 2.5),
    "conv2d": (partial(KANConv, C, C, 3, padding=1, groups=2, basis="bspline"), 2, 2.5),
    "conv3d": (partial(KANConv, C, C, 3, ndim=3, padding=1, norm="group"), 3, 2.5),
    "input-norm": (
        partial(KANConv, C, C, 3, padding=1, basis="rbf", norm_position="input", activation=None),
        2,
        2.5,
    ),
    "linear": (partial(KANLinear, C, C), 0, 2.5),
    "network": (partial(KAN, [C, 5, C]), 0, 4.0),
    "bottleneck": (partial(Bottleneck, C, C, 3, padding=1, min_inner=2), 2, 3.0),
    "bottleneck-linear": (partial(BottleneckLinear, C, C, min_inner=2), 0, 3.0),
    "wavelet": (partial(WavKANConv, C, C, 3, padding=1, wavelet="shannon"), 2, 2.5),
    "wavelet-linear": (partial(WavKANLinear, C, C), 0, 2.5),
    "efficient": (partial(EfficientKANLinear, C, C), 0, 2.5),
    "mixture": (partial(MixtureOfExperts, C, expert=expert, num_experts=3, noisy=False), 2, 9.0),
    "attention": (partial(SelfAttention, C, layer=pointwise), 2, 10.0),
    "rope": (partial(SelfAttention, C, layer=pointwise, inner=4, rope="mixed"), 2, 8.0),
    "focal": (partial(FocalModulation, C, layer=partial(KANConv, basis="legendre")), 2, 17.0),
    "channel-maps": (partial(KAConv, C, C, 3, padding=1, multiplier=5), 2, 1.0),
    "shuffled": (partial(ShuffledKANConv, C, C, 3, padding=1, groups=2), 2, 2.5),
    "rational": (partial(GroupRational, 4, channels_last=False), 2, 1.0),
    "adaptive-network": (partial(EfficientKAN, [C, 5, C]), 0, 2.5),
    "pre-gated": (partial(Bottleneck, C, C, 3, padding=1, min_inner=4, layer=pre_gated), 2, 9.0),
}
all_layers = pytest.mark.parametrize("name", LAYERS)
# What takes seconds for each: all of them in `make slow`, every fourth one always.
layers_in_turn = pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] if i % 4 else [])
        for i, name in enumerate(LAYERS)
    ],
)


def make(name):
    torch.manual_seed(0)
    return LAYERS[name][0]()


def image(name, batch=4, **options):
    torch.manual_seed(1)
    return torch.randn(batch, C, *(6, 5, 4)[: LAYERS[name][1]], **options)


def close(found, wanted, tolerance=1e-5):
    torch.testing.assert_close(found, wanted, rtol=tolerance, atol=tolerance)


def trained_gradients(layer, x):
    """The output, and the gradients of everything, of one training step."""
    x = x.clone().requires_grad_()
    y = layer(x)
    y.square().sum().backward()
    return [y, x.grad, *(p.grad for p in layer.parameters())]


@all_layers
def test_copies_pickles_and_states_compute_the_same(name):
    layer, x = make(name), image(name)
    layer(x).sum().backward()
    layer.eval()
    y = layer(x)
    file = io.BytesIO()
    torch.save(layer.state_dict(), file)
    file.seek(0)
    loaded = LAYERS[name][0]().eval()
    loaded.load_state_dict(torch.load(file))
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer)), loaded):
        close(twin(x), y, 0)
        assert not {p.data_ptr() for p in twin.parameters()} & {
            p.data_ptr() for p in layer.parameters()
        }


@all_layers
def test_functional_call_and_torch_func(name):
    layer, x = make(name).eval(), image(name)
    other = {key: p + 0.1 for key, p in layer.named_parameters()}
    changed = copy.deepcopy(layer)
    changed.load_state_dict({**layer.state_dict(), **other})
    close(torch.func.functional_call(layer, other, (x,)), changed(x), 0)

    def loss(parameters):
        return torch.func.functional_call(layer, parameters, (x,)).square().sum()

    found = torch.func.grad(loss)(dict(layer.named_parameters()))
    layer(x).square().sum().backward()
    for key, p in layer.named_parameters():
        if p.grad is not None:
            close(found[key], p.grad, 1e-3)


@all_layers
def test_kept_bytes(name):
    layer, x = make(name), image(name, batch=64).requires_grad_()
    small = sum(t.nbytes for t in layer.state_dict().values())
    kept = kept_bytes(lambda: layer(x), layer.parameters())
    assert kept <= LAYERS[name][2] * x.nbytes + 2 * small


@all_layers
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast(name, dtype):
    layer, x = make(name), image(name).requires_grad_()
    layer.eval()
    exact = layer(x)
    with torch.autocast("cpu", dtype=dtype):
        y = layer(x)
    close(y.float(), exact, 0.1)
    layer.train()
    with torch.autocast("cpu", dtype=dtype):
        y = layer(x)
    y.float().square().sum().backward()
    assert x.grad.dtype == torch.float32 and x.grad.isfinite().all()
    for p in layer.parameters():
        assert p.grad.dtype == torch.float32 and p.grad.isfinite().all()


@all_layers
def test_channels_last(name):
    formats = {2: torch.channels_last, 3: torch.channels_last_3d}
    if LAYERS[name][1] not in formats:
        pytest.skip("has no such memory format")
    last = formats[LAYERS[name][1]]
    layer, x = make(name).double(), image(name).double()
    wanted = trained_gradients(copy.deepcopy(layer), x)
    found = trained_gradients(layer.to(memory_format=last), x.to(memory_format=last))
    for one, other in zip(found, wanted, strict=True):
        close(one, other, 1e-6)


@all_layers
def test_bad_input(name):
    layer, ndim = make(name), LAYERS[name][1]
    good = image(name)
    wrong_channels = good[:, :-1] if ndim else good[..., :-1]
    with pytest.raises(ValueError, match=r"but takes \(|does not divide"):
        layer(wrong_channels)
    for integers in (good.long(), (good > 0).to(torch.uint8), good > 0):
        with pytest.raises(TypeError, match=r"got torch\.\w+ but takes"):
            layer(integers)
    wrong_ranks = [torch.tensor(1.0)]
    if name != "rational":  # which takes any number of positions
        wrong_ranks += [good.unsqueeze(0), good[0, 0]] if ndim else []
    for wrong in wrong_ranks:
        with pytest.raises(ValueError, match=r"got an input of shape .* but takes"):
            layer(wrong)
    if ndim and name != "rational":
        with pytest.raises(ValueError, match="too small"):
            layer(good[..., :0])


@all_layers
def test_nan_stays_in_its_sample(name):
    layer, x = make(name).eval(), image(name)
    clean, x[1].flatten()[3] = layer(x), float("nan")
    y = layer(x)
    assert y[1].isnan().any()
    others = [0, 2, 3]
    close(y[others], clean[others])


@all_layers
def test_one_sample_does_not_depend_on_the_others(name):
    layer, x = make(name).eval(), image(name)
    close(layer(x[1:2]), layer(x)[1:2])


@all_layers
def test_empty_batch(name):
    layer, x = make(name).eval(), image(name, batch=0).requires_grad_()
    y = layer(x)
    assert y.shape == x.shape
    y.sum().backward()
    assert x.grad.shape == x.shape
    layer.train()
    try:
        assert layer(x).shape == x.shape
    except ValueError as error:  # a batch norm has nothing to average
        assert "Expected more than 1 value per channel" in str(error)


@layers_in_turn
def test_compiles_to_one_graph(name):
    torch._dynamo.reset()
    layer, x = make(name).double(), image(name).double()
    wanted = trained_gradients(copy.deepcopy(layer), x)
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    for one, other in zip(trained_gradients(compiled, x), wanted, strict=True):
        close(one, other, 1e-6)


@all_layers
@pytest.mark.slow
def test_trains_compiled_to_machine_code(name):
    torch._dynamo.reset()
    layer, x = make(name).double(), image(name).double()
    wanted = trained_gradients(copy.deepcopy(layer), x)
    compiled = torch.compile(layer, fullgraph=True)
    for one, other in zip(trained_gradients(compiled, x), wanted, strict=True):
        close(one, other, 1e-6)


@layers_in_turn
def test_exports_for_any_batch_also_as_onnx(name, tmp_path):
    layer, x, other = make(name).eval(), image(name), image(name, batch=7)
    batch = torch.export.Dim("batch", min=2, max=64)
    program = torch.export.export(layer, (x,), dynamic_shapes=({0: batch},))
    for inputs in (x, other):
        close(program.module()(inputs), layer(inputs))
    pytest.importorskip("onnxscript")
    runtime, file = pytest.importorskip("onnxruntime"), str(tmp_path / "layer.onnx")
    torch.onnx.export(program, (x,), file, dynamo=True, optimize=False, verbose=False)
    session = runtime.InferenceSession(file, providers=["CPUExecutionProvider"])
    for inputs in (x, other):
        (y,) = session.run(None, {session.get_inputs()[0].name: inputs.numpy()})
        close(torch.from_numpy(y), layer(inputs), 1e-4)


DISTRIBUTED = """
import gc
import sys
sys.path.insert(0, sys.argv[1])
import torch
from torch.nn.parallel import DistributedDataParallel
from test_every_layer import LAYERS, image, make

def compare_gradients(name, rank):
    layer = make(name)
    wrapped, x = DistributedDataParallel(layer), image(name, batch=8)
    for _ in range(2):  # the second step fails where a parameter had no gradient
        wrapped.zero_grad()
        wrapped(x[4 * rank : 4 * rank + 4]).square().mean().backward()
    for key, p in layer.named_parameters():
        both = [torch.empty_like(p.grad) for _ in range(2)]
        torch.distributed.all_gather(both, p.grad)
        assert torch.equal(*both), (name, key)

torch.set_num_threads(1)
torch.distributed.init_process_group("gloo")
for name in LAYERS:
    compare_gradients(name, torch.distributed.get_rank())
gc.collect()  # a wrapper that outlives the group aborts the process at its exit
torch.distributed.destroy_process_group()
"""


def test_distributed_data_parallel():
    folder = str(Path(__file__).parent)
    for done in forks.run("-c", DISTRIBUTED, folder, processes=2):
        assert done.returncode == 0, done.stderr[-3000:]
