"""`make gpu` needs a GPU; here its code runs on the CPU, with kernels executed there."""

import functools

import pytest
import torch

from tests import cuda_on_gpu, forks
from tests.cuda_on_cpu.executor import Executor


@pytest.mark.parametrize(
    "part", ["operators", pytest.param("surroundings", marks=pytest.mark.slow), "training"]
)
def test_checks_run_and_pass(monkeypatch, part):
    Executor(checked=False).install(monkeypatch)
    quick = functools.partial(torch.compile, backend="aot_eager")
    monkeypatch.setattr(torch, "compile", quick)
    with torch.device("cpu"):
        assert list(getattr(cuda_on_gpu, part)())


@pytest.mark.slow
def test_parity_and_benchmark_run(monkeypatch):
    Executor(checked=False).install(monkeypatch)
    monkeypatch.setattr(cuda_on_gpu, "BASES", ["gram"])
    monkeypatch.setattr(cuda_on_gpu, "WAVELETS", ["dog"])
    monkeypatch.setattr(torch, "compile", lambda module: module)
    with torch.device("cpu"):
        assert list(cuda_on_gpu.parity())
        units = {row[3] for row in cuda_on_gpu.benchmark(batch=1, channels=2, size=4)}
    assert units == {"ms", "x input", "GB/s"}


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_without_a_gpu_it_says_so():
    (done,) = forks.run("-m", "tests.cuda_on_gpu")
    assert done.returncode == 1
    assert "make gpu needs a GPU: torch sees no CUDA device" in done.stderr
