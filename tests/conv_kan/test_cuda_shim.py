"""The executor of CUDA kernels on the CPU computes what they say and reports their bugs."""

import numpy as np
import pytest
import torch

from tests.cuda_on_cpu.build import HERE
from tests.cuda_on_cpu.module import SCHEDULES, How, KernelError, Module, Traffic

SAMPLES = HERE / "samples.cu"


def sum_neighbours(how, bug=None):
    x, y = torch.randn(10, 64), torch.empty(64)
    module = Module(SAMPLES, ["sum_neighbours"], [(bug, "1")] if bug else [])
    module.launch("sum_neighbours", (1,), (64,), (x, y, np.int32(10)), how)
    return y, (x.roll(1, 1) + x.roll(-1, 1)).sum(0), module


def add_up(how, bug=None):
    x, total = torch.randn(200), torch.zeros(1)
    module = Module(SAMPLES, ["add_up"], [(bug, "1")] if bug else [])
    module.launch("add_up", (4,), (64,), (x, total, np.int32(200)), how)
    return total, x.sum().view(1), module


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("kernel", [sum_neighbours, add_up])
def test_a_correct_kernel_runs_without_a_report(kernel, schedule):
    result, expected, _ = kernel(How(schedule=schedule, seed=3))
    torch.testing.assert_close(result, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("kernel", "bug", "report"),
    [
        (sum_neighbours, "WITHOUT_FIRST_BARRIER", "uninitialised shared memory|race"),
        (sum_neighbours, "WITHOUT_SECOND_BARRIER", "race"),
        (sum_neighbours, "BEYOND", "write out of bounds"),
        (add_up, "WITHOUT_BOUND", "read out of bounds"),
        (add_up, "WITHOUT_ATOMIC", "race"),
        (add_up, "DIVERGENT", "warp collective|deadlock"),
        (add_up, "LATE_BARRIER", "after threads exited|exited while others wait"),
    ],
)
def test_a_planted_bug_is_reported(kernel, bug, report):
    with pytest.raises(KernelError, match=report):
        kernel(How(), bug)


def test_accesses_are_counted():
    *_, module = sum_neighbours(How())
    assert module.traffic == [Traffic(10 * 64 * 4, 0, 0), Traffic(0, 64 * 4, 0)]
    *_, module = add_up(How())
    assert module.traffic == [Traffic(200 * 4, 0, 0), Traffic(0, 0, 8)]


def test_a_launch_with_the_wrong_types_or_sizes_fails():
    x, total = torch.zeros(64), torch.zeros(1)
    module = Module(SAMPLES, ["add_up"])
    with pytest.raises(KernelError, match="types 'ppi' but was given 'ppl'"):
        module.launch("add_up", (1,), (64,), (x, total, np.int64(64)))
    with pytest.raises(KernelError, match="block size"):
        module.launch("add_up", (1,), (2048,), (x, total, np.int32(64)))
    with pytest.raises(TypeError, match="numpy scalars"):
        module.launch("add_up", (1,), (64,), (x, total, 64))


def test_only_some_blocks_can_be_run():
    x, total = torch.ones(256), torch.zeros(1)
    module = Module(SAMPLES, ["add_up"])
    module.launch("add_up", (4,), (64,), (x, total, np.int32(256)), How(blocks=(3, -1)))
    assert total.item() == 64.0
