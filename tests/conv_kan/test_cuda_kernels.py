"""The CUDA kernels, executed on the CPU with every access checked, against float64.

An error may be at most twice that of eager torch in the same dtype.
"""

import pytest
import torch

from conv_kan.bases import BASES
from conv_kan.ops import cupy
from conv_kan.ops.maths.activations import ACTIVATIONS
from conv_kan.ops.maths.geometry import make_geometry
from conv_kan.ops.maths.plan import Inputs, Plan, Wanted
from conv_kan.ops.maths.wavelets import WAVELETS
from conv_kan.ops.rational import group_rational
from tests.cuda_on_cpu.cases import (
    BF16,
    F16,
    F32,
    F64,
    compare,
    compare_rational,
    compare_wavelet,
    knots_case,
    make_case,
)
from tests.cuda_on_cpu.executor import Executor
from tests.cuda_on_cpu.module import SCHEDULES, How


@pytest.fixture
def executor(monkeypatch):
    return Executor().install(monkeypatch)


# ----------------------------------------------------------------------------------- the expansion
@pytest.mark.parametrize("name", BASES)
def test_every_basis(executor, name):
    compare(*make_case(name))


@pytest.mark.parametrize("dtype", [F32, F16, BF16, F64])
@pytest.mark.parametrize("order", [0, 3])
def test_splines_on_knots_of_every_channel(executor, order, dtype):
    compare(*knots_case(order, dtype))


@pytest.mark.parametrize("dtype", [F16, BF16, F64])
@pytest.mark.parametrize("name", ["gram", "bspline", "relu"])
def test_every_dtype(executor, name, dtype):
    compare(*make_case(name, dtype=dtype))


@pytest.mark.parametrize("base", [*ACTIVATIONS, None])
def test_every_base_function(executor, base):
    compare(*make_case("chebyshev", base=base))


@pytest.mark.parametrize(
    "case",
    [
        {"size": (1,), "channels": 1},
        {"size": (1, 1, 1), "channels": 1},
        {"size": (7,), "channels": 5},
        {"size": (3, 13), "channels": 7},
        {"size": (2, 8, 4), "channels": 3},
        {"size": (2, 2, 3, 5), "channels": 2},
        {"size": (0, 4), "channels": 3},
        {"size": (2, 4, 4), "channels": 4, "last": True},
        {"size": (3, 5, 3), "channels": 37, "last": True},
        {"size": (2, 8, 4), "channels": 3, "into": BF16},
    ],
    ids=lambda case: "-".join(map(str, case.values())),
)
@pytest.mark.parametrize("name", ["gram", "relu"])
def test_every_size_and_layout(executor, name, case):
    compare(*make_case(name, **case))


@pytest.mark.parametrize("size", [(2, 5), (2, 5, 3), (2, 3, 4, 2)])
@pytest.mark.parametrize("last", [False, True])
def test_extra_positions_stay_zero(executor, size, last):
    case = make_case("gram", 5, size, last=last and len(size) == 3)
    geometry = make_geometry(len(size) - 1, 2, 1, "same", 1, 1)
    e = compare(case.x, case.shape, case.expansion, geometry, case.into)[0]
    assert not e.select(-1, size[-1]).any()


def test_functions_may_read_another_tensor_than_the_base(executor):
    x, *rest = make_case("gram")
    compare(x, *rest, u=torch.randn_like(x))


def test_strided_and_misaligned_inputs(executor):
    x, *rest = make_case("relu", size=(4, 8))
    compare(x[::2, :, ::2].expand(2, 4, 4), *rest)
    shifted = torch.randn(x.numel() + 1)[1:].view(x.shape)
    compare(shifted, *rest)


@pytest.mark.parametrize("name", ["gram", "bspline", "relu", "shared_spline"])
def test_nan_stays_nan(executor, name):
    x, *rest = make_case(name)
    x[0, 0, 0] = torch.nan
    compare(x, *rest, upto=3)  # whether it also reaches a sum over all elements is left open


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("name", ["gram", "relu"])
def test_deterministic_sums_repeat_bit_for_bit(executor, name, last, deterministic):
    case = make_case(name, channels=37, size=(3, 16, 16), last=last)
    executor.processors = 8
    found = []
    for schedule in (0, 2):
        executor.how = How(schedule=schedule, seed=schedule)
        torch.manual_seed(3)
        found.append(compare(*case))
    assert executor.launches[-1].blocks > 1
    assert all(map(torch.equal, *found))
    assert not any(t.atomics for launch in executor.launches for t in launch.traffic)


@pytest.fixture
def deterministic():
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_any_order_of_threads(executor, schedule):
    executor.how, executor.processors = How(schedule=schedule, seed=5), 2
    compare(*make_case("relu", channels=6, size=(2, 16, 16)))


def test_more_elements_than_32_bits_can_count(executor):
    """Only the last blocks of 2^31 elements, in memory that is never touched otherwise."""
    case = make_case("chebyshev", base=None, dtype=F16)
    executor.checked = False
    count, last = 2**31 + 1024, slice(-256, None)
    x = torch.empty(count, dtype=F16).view(1, 1, count)
    x[..., last] = torch.randn(256)
    executor.how = How(blocks=(count // 1024 - 1, -1))
    expansion = case.expansion
    plan = Plan(expansion, case.geometry, F16, x.shape[2:])
    e = cupy.expand_inputs(Inputs(x), plan)
    wide = x[0, 0, last].float().requires_grad_()
    expected = torch.stack(expansion.functions(wide))
    torch.testing.assert_close(e[0, :, last].float(), expected, rtol=2e-3, atol=2e-3)
    e[0, :, last] = 1.0
    dx = cupy.pull_back(e, Inputs(x), plan, Wanted([True, False], True))[0]
    expected.sum().backward()
    torch.testing.assert_close(dx[0, 0, last].float(), wide.grad, rtol=5e-3, atol=5e-3)
    torch.testing.assert_close(e[0, :, last].float(), expected, rtol=2e-3, atol=2e-3)
    a, b = torch.randn(6), torch.randn(1, 4)
    y = group_rational(x.view(-1, 256), a, b, True, "cupy")[-1]
    plain = group_rational(x.view(-1, 256)[-1:], a, b, True)[0]
    torch.testing.assert_close(y.float(), plain.float(), rtol=2e-3, atol=2e-3)
    assert all("long long" in launch.kernel.expression for launch in executor.launches)


# ------------------------------------------------------------------------------ the group rational
@pytest.mark.parametrize("dtype", [F32, F16, BF16, F64])
@pytest.mark.parametrize("channels_last", [True, False])
def test_rational(executor, dtype, channels_last):
    size = (3, 5, 16) if channels_last else (2, 6, 4, 5)
    compare_rational(size, dtype, channels_last)


@pytest.mark.parametrize("size", [(1, 2), (7, 6), (0, 4), (5, 3, 22), (2, 500, 8)])
def test_rational_of_any_size(executor, size):
    executor.processors = 2
    compare_rational(size)


def test_rational_of_images_with_channels_last_in_memory(executor):
    x = torch.randn(2, 8, 3, 5).contiguous(memory_format=torch.channels_last)
    torch.manual_seed(1)
    a, b = torch.randn(6), torch.randn(4, 4)
    found = group_rational(x, a, b, False, "cupy")
    torch.testing.assert_close(found, group_rational(x, a, b, False), rtol=1e-5, atol=1e-5)
    assert found.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("orders", [(0, 0), (0, 2), (1, 0), (2, 5), (7, 3)])
def test_rational_of_any_orders(executor, orders):
    compare_rational((3, 5, 16), orders=orders)


def test_rational_sums_in_two_stages_that_repeat_bit_for_bit(executor):
    """In whatever order blocks run: each leaves its sums, and nothing is added to them."""
    executor.processors = 4
    first = compare_rational((4000, 8))
    launch = executor.launches[-1]
    assert launch.blocks > 8
    assert launch.traffic[-1].bytes_written == launch.blocks * 10 * 8
    assert launch.traffic[-1].atomics == 0
    executor.how = How(schedule=2, seed=9)
    assert all(map(torch.equal, first, compare_rational((4000, 8))))


# ---------------------------------------------------------------------------- a wavelet per edge
@pytest.mark.parametrize("wavelet", WAVELETS)
def test_wavelets(executor, wavelet):
    compare_wavelet(wavelet)


@pytest.mark.parametrize(
    "case",
    [
        {"channels": 37, "size": (3, 7), "mix": False},  # more edges than a block holds at a time
        {"channels": 6, "c_out": 4, "groups": 2, "stride": 2},
        {"channels": 5, "size": (9,), "mix": False},
        {"size": (2, 3, 3, 2), "channels": 2, "c_out": 2},
        {"size": (2, 300), "channels": 5, "kernel": 1},
        {"size": (0, 5), "channels": 3},
        {"dtype": F64},
        {"dtype": BF16},
    ],
    ids=str,
)
def test_wavelets_of_any_size_and_dtype(executor, case):
    compare_wavelet("mexican_hat", **case)
    assert not any(t.atomics for launch in executor.launches for t in launch.traffic)
