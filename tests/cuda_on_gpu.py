"""Everything the CPU cannot show of the CUDA kernels: python -m tests.cuda_on_gpu (make gpu).

Parity with float64, gradcheck, opcheck, torch.compile, autocast, DDP, CUDA graphs, 30 training
steps with and without kernels; then times, memory and bandwidth beside eager torch, torch.compile,
the bare convolution of the same expanded channels, and a measured copy. Writes
experiments/results/kernels_gpu.csv. Without a GPU it says so and exits with 1.
"""

from __future__ import annotations

import copy
import csv
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from conv_kan import KANConv
from conv_kan.bases import BASES
from conv_kan.layers.rational import GroupRational
from conv_kan.layers.wavkan import WavKANConv
from conv_kan.ops import cupy
from conv_kan.ops.cupy import launch as cupy_launch
from conv_kan.ops.cupy import rational as cupy_rational
from conv_kan.ops.cupy.sources import TYPES
from conv_kan.ops.maths.plan import Inputs, Wanted
from conv_kan.ops.maths.wavelets import WAVELETS
from tests.cuda_on_cpu import cases

RESULT = Path(__file__).parent.parent / "experiments" / "results" / "kernels_gpu.csv"
Row = tuple[str, str, float, str]  # check, case, figure, unit


# ------------------------------------------------------------------------------------------- checks
def parity() -> Iterator[Row]:
    """The largest error of every kernel against its bound, twice that of eager torch."""
    for dtype in TYPES:
        for name in BASES:
            for last in (False, True):
                case = cases.make_case(name, 33, (3, 9, 8), dtype=dtype, last=last)
                yield from _parity(f"expand {name} {dtype} last={last}", cases.run_expansion(case))
        yield from _parity(f"expand knots {dtype}", cases.run_expansion(cases.knots_case(3, dtype)))
        yield from _parity(f"rational 1D {dtype}", cases.run_rational((40, 25, 16), dtype))
        found = cases.run_rational((4, 8, 17, 5), dtype, channels_last=False)
        yield from _parity(f"rational 2D {dtype}", found)
        for wavelet in WAVELETS:
            found = cases.run_wavelet(wavelet, 37, 4, (3, 6, 5), dtype)
            yield from _parity(f"wavelet {wavelet} {dtype}", found)


def _parity(case: str, outcomes: Iterator[cases.Outcome]) -> Iterator[Row]:
    worst = 0.0
    for outcome in outcomes:
        if outcome.error > outcome.bound:
            raise AssertionError(f"{case}, {outcome.name}: {outcome.error} > {outcome.bound}")
        worst = max(worst, outcome.error)
    yield "parity", case, worst, "relative error"


def operators() -> Iterator[Row]:
    """gradcheck and opcheck of the rational, and two equal runs in deterministic mode."""
    torch.manual_seed(0)
    shapes = ((3, 2, 8), (6,), (2, 4))
    inputs = [torch.randn(s, dtype=torch.float64, requires_grad=True) for s in shapes]
    torch.autograd.gradcheck(cupy_rational.rational, inputs)
    torch.library.opcheck(cupy_rational.rational, tuple(inputs))
    torch.use_deterministic_algorithms(True)
    runs = [[o.kernel for o in cases.run_rational((4000, 8))] for _ in range(2)]
    torch.use_deterministic_algorithms(False)
    assert all(map(torch.equal, *runs)), "deterministic runs differ"
    yield "operators", "gradcheck, opcheck, deterministic", 1.0, "passed"


def surroundings() -> Iterator[Row]:
    """torch.compile, autocast and DDP around layers with kernels equal the plain layer."""
    device = torch.get_default_device()
    torch.manual_seed(0)
    x = torch.randn(2, 4, 8, 8)
    for layer in _layers("cupy"):
        expected = layer(x)
        compiled = torch.compile(copy.deepcopy(layer), fullgraph=True)(x)
        torch.testing.assert_close(compiled, expected, rtol=1e-4, atol=1e-4)
        with torch.autocast(device.type, torch.bfloat16):
            half = copy.deepcopy(layer)(x)
        torch.testing.assert_close(half.float(), expected, rtol=0.1, atol=0.1)
        yield "compile, autocast", type(layer).__name__, 1.0, "passed"
    backend = "nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)
    try:
        layer = _layers("cupy")[0]
        _with_gradients(layer, x)
        parallel = DistributedDataParallel(copy.deepcopy(layer))
        _with_gradients(parallel, x)
        for a, b in zip(layer.parameters(), parallel.parameters(), strict=True):
            torch.testing.assert_close(a.grad, b.grad, rtol=1e-4, atol=1e-4)
    finally:
        dist.destroy_process_group()
    yield "DDP", "KANConv, one process", 1.0, "passed"


def _layers(backend: str) -> list[nn.Module]:
    return [
        KANConv(4, 4, 3, padding=1, basis="gram", backend=backend),
        WavKANConv(4, 4, 3, padding=1, backend=backend),
        GroupRational(2, channels_last=False, backend=backend),
    ]


def _with_gradients(module: nn.Module, x: Tensor) -> None:
    module.zero_grad()
    module(x).square().sum().backward()


def cuda_graph() -> Iterator[Row]:
    """A captured forward pass, replayed on another input, equals a plain one."""
    layer, x = KANConv(4, 4, 3, padding=1, backend="cupy").eval(), torch.randn(2, 4, 32, 32)
    with torch.no_grad():
        layer(x)  # compiles and loads the kernels, which capture must not do
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            y = layer(x)
        x.copy_(torch.randn_like(x))
        graph.replay()
        torch.testing.assert_close(y, layer(x))
    yield "CUDA graph", "KANConv", 1.0, "passed"


def training(steps: int = 30) -> Iterator[Row]:
    """The largest difference of the losses of a small network, with and without kernels."""
    plain, kernels = (_losses(backend, steps) for backend in ("torch", "cupy"))
    difference = max(abs(a - b) for a, b in zip(plain, kernels, strict=True))
    assert difference < 1e-4, (plain, kernels)
    yield "training", f"digits, {steps} steps", difference, "loss"


def _losses(backend: str, steps: int) -> list[float]:
    torch.manual_seed(0)
    images, labels = load_digits(return_X_y=True)
    network = nn.Sequential(
        KANConv(1, 8, 3, stride=2, basis="gram", backend=backend),
        GroupRational(2, channels_last=False, backend=backend),
        KANConv(8, 8, 3, basis="bspline", backend=backend),
        nn.Flatten(),
        nn.Linear(8, 10),
    )
    optimizer, losses = torch.optim.SGD(network.parameters(), lr=0.005), []
    for step in range(steps):
        rows = slice(step * 32, step * 32 + 32)
        x = torch.tensor(images[rows], dtype=torch.float32).view(-1, 1, 8, 8) / 16
        loss = nn.functional.cross_entropy(network(x), torch.tensor(labels[rows]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


# ------------------------------------------------------------------------------------------- speed
def benchmark(batch: int = 32, channels: int = 64, size: int = 32) -> Iterator[Row]:
    """Training steps of one layer, the memory they take, and the bandwidth of its kernels."""
    x = torch.randn(batch, channels, size, size, requires_grad=True)
    for name in ("gram", "bspline", "relu"):
        layer = KANConv(channels, channels, 3, padding=1, basis=name, norm=None, backend="torch")
        kernels = copy.deepcopy(layer)
        kernels.backend = "cupy"
        compiled = torch.compile(layer)
        bare = nn.Conv2d(channels * layer.expansion.num_maps, channels, 3, padding=1)
        expanded = torch.randn(batch, bare.in_channels, size, size, requires_grad=True)
        steps: dict[str, Callable[[], Any]] = {
            "eager": lambda layer=layer: _with_gradients(layer, x),
            "torch.compile": lambda m=compiled: _with_gradients(m, x),
            "kernels": lambda layer=kernels: _with_gradients(layer, x),
            "bare convolution": lambda m=bare, e=expanded: _with_gradients(m, e),
        }
        for label, step in steps.items():
            seconds, peak = measure(step)
            yield "training step", f"{name}, {label}", 1e3 * seconds, "ms"
            yield "peak memory", f"{name}, {label}", peak / x.nbytes, "x input"
    yield from _bandwidths(batch, channels, size)


def _bandwidths(batch: int, channels: int, size: int) -> Iterator[Row]:
    source = torch.randn(batch * channels * size * size * 4)
    target = torch.empty_like(source)
    seconds, _ = measure(lambda: target.copy_(source))
    yield "bandwidth", "copy", 2 * source.nbytes / seconds / 1e9, "GB/s"
    for name in ("gram", "bspline", "relu"):
        case = cases.make_case(name, channels, (batch, size, size), base="silu")
        arguments = Inputs(case.x, None, case.shape), case.plan
        buffer = cupy.expand_inputs(*arguments)
        seconds, _ = measure(lambda a=arguments: cupy.expand_inputs(*a))
        moved = case.x.nbytes + buffer.nbytes
        yield "bandwidth", f"expand_forward {name}", moved / seconds / 1e9, "GB/s"
        wanted = Wanted([True, False, *[True] * len(case.shape)], True)
        seconds, _ = measure(lambda b=buffer, a=arguments, w=wanted: cupy.pull_back(b, *a, w))
        moved = 2 * case.x.nbytes + 2 * buffer.nbytes
        yield "bandwidth", f"expand_backward {name}", moved / seconds / 1e9, "GB/s"


def measure(step: Callable[[], Any], repeats: int = 20) -> tuple[float, int]:
    """(median seconds, peak bytes) of a step."""
    on_gpu = torch.get_default_device().type == "cuda"
    for _ in range(3):
        step()
    if not on_gpu:  # only to see that the code runs
        return 1.0, 0
    torch.cuda.reset_peak_memory_stats()
    times = []
    for _ in range(repeats):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        step()
        end.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(end) / 1e3)
    return sorted(times)[repeats // 2], torch.cuda.max_memory_allocated()


def main() -> int:
    reason = cupy_launch.why_not(torch.float32)
    if reason is not None:
        print(f"make gpu needs a GPU: {reason}", file=sys.stderr)
        return 1
    rows: list[Row] = []
    with torch.device("cuda"):
        for part in (parity, operators, surroundings, cuda_graph, training, benchmark):
            for row in part():
                print(*row, sep=", ", flush=True)
                rows.append(row)
    with RESULT.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("check", "case", "figure", "unit", "device", "torch"))
        device = torch.cuda.get_device_name()
        writer.writerows((*row, device, torch.__version__) for row in rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
