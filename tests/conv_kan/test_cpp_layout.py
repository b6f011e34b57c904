"""Memory formats on a CPU: the way between them, which one a layer computes in, and its memory."""

import copy

import pytest
import torch

from conv_kan import Bottleneck, KANConv
from conv_kan.ops.cpp import fastest_format, in_format, layout
from conv_kan.ops.layout import to_format
from conv_kan.ops.maths import scratch

FIRST, LAST, LAST_3D = torch.contiguous_format, torch.channels_last, torch.channels_last_3d
SHAPES = [(2, 16, 4, 4), (3, 37, 5, 7), (1, 64, 33, 1), (5, 3, 1, 40), (2, 17, 3, 2, 9)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shape", SHAPES)
def test_there_and_back(shape, dtype):
    x = torch.randn(shape).to(dtype)
    last = LAST if x.dim() == 4 else LAST_3D
    moved = in_format(x, last)
    assert torch.equal(moved, x) and moved.is_contiguous(memory_format=last)
    back = in_format(moved, FIRST)
    assert torch.equal(back, x) and back.is_contiguous()
    assert in_format(x, FIRST) is x and in_format(moved, last) is moved


@pytest.mark.parametrize("x", [
    torch.randn(2, 8, 6, 10)[:, ::2, 1:, ::3], torch.randn(1, 1, 1, 1).expand(3, 4, 5, 6),
    torch.randn(0, 4, 3, 3), torch.randn(2, 1, 4, 4),
])  # fmt: skip
def test_inputs_with_gaps(x):
    for wanted in (LAST, FIRST):
        moved = in_format(x, wanted)
        assert torch.equal(moved, x) and moved.is_contiguous(memory_format=wanted)


def test_the_fastest_format(monkeypatch):
    monkeypatch.setattr(layout, "has_avx512", lambda: True)
    x, sequence = torch.randn(2, 4, 8, 8), torch.randn(2, 4, 8)
    last = x.contiguous(memory_format=LAST)
    for image in (x, last):
        assert fastest_format(image, 1000, 100, torch.float32) is LAST
        assert fastest_format(image, 100, 1000, torch.float32) is FIRST  # a weight too large
    assert fastest_format(torch.randn(2, 4, 8, 8, 8), 1000, 100, torch.bfloat16) is LAST_3D
    assert fastest_format(sequence, 1000, 100, torch.float32) is FIRST
    assert fastest_format(x, 1000, 100, torch.float64) is FIRST  # torch's own convolution
    assert fastest_format(last, 1000, 100, torch.float64) is LAST
    monkeypatch.setattr(layout, "has_avx512", lambda: False)
    assert fastest_format(x, 1000, 100, torch.float32) is FIRST
    assert fastest_format(last, 100, 1000, torch.float32) is LAST


def step(layer, x, grad_y):
    x = x.clone(memory_format=torch.preserve_format).requires_grad_()
    y = layer(x)
    return y, *torch.autograd.grad(y, [x, *layer.parameters()], grad_y)


@pytest.mark.parametrize("options", [
    {}, {"basis": "relu", "groups": 2}, {"norm_position": "input", "stride": 2},
    {"c_out": 300, "basis": "bspline"},  # a weight larger than the buffer
    {"norm": None, "activation": None, "padding": "same", "kernel_size": 2},
])  # fmt: skip
def test_outputs_and_gradients_have_the_format_of_the_input(options, monkeypatch):
    monkeypatch.setattr(layout, "has_avx512", lambda: True)
    torch.manual_seed(0)
    options = {"c_in": 12, "c_out": 8, "kernel_size": 3, "padding": 1, "backend": "cpp"} | options
    layer = KANConv(**options)
    x = torch.randn(3, 12, 9, 10)
    grad_y = torch.randn_like(layer(x))
    y, grad_x, *grads = step(layer, x, grad_y)
    assert y.is_contiguous() and grad_x.is_contiguous()
    others = step(layer, *(t.contiguous(memory_format=LAST) for t in (x, grad_y)))
    for t in others[:2]:
        assert t.is_contiguous(memory_format=LAST)
    for one, other in zip((y, grad_x, *grads), others, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_scratch_is_lent_piece_by_piece_and_kept():
    def make(length):
        return scratch.empty((length,), torch.float32, torch.device("cpu"), FIRST)

    length = 1 << 16
    for _ in range(2):  # after the first time there is enough of it
        with scratch.lend_scratch():
            one, two = make(length), make(length)
            one.fill_(1.0), two.fill_(2.0)
            assert (one == 1.0).all() and (two == 2.0).all()
    memory = scratch._scratch.memory
    assert memory is not None and memory.nbytes >= 8 * length
    assert one.data_ptr() == memory.data_ptr()
    with scratch.lend_scratch():
        assert make(length).data_ptr() == memory.data_ptr()
        assert make(1 << 25).data_ptr() != memory.data_ptr()  # more than is kept
        assert make(8).untyped_storage().nbytes() == 32  # too little to be worth it
    assert scratch._scratch.memory is memory
    assert make(length).data_ptr() != memory.data_ptr()  # outside


@pytest.mark.parametrize("given", [FIRST, LAST])
def test_a_bottleneck_computes_the_same_in_both_formats(given, monkeypatch):
    monkeypatch.setattr(layout, "has_avx512", lambda: True)
    torch.manual_seed(0)
    layer = Bottleneck(12, 20, 3, padding=1, groups=2, backend="cpp")
    plain = copy.deepcopy(layer)
    plain.backend = plain.inner.backend = "torch"
    x = torch.randn(3, 12, 9, 10).contiguous(memory_format=given)
    grad_y = torch.randn_like(layer(x))
    found, wanted = step(layer, x, grad_y), step(plain, x, grad_y)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    for t in found[:2]:
        assert t.is_contiguous(memory_format=given)


def test_a_change_of_format_is_differentiable_as_often_as_wanted():
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradgradcheck(lambda x: to_format(x, LAST).square(), x)
    y = to_format(x, LAST)
    assert torch.autograd.grad(y.sum(), x)[0].is_contiguous()
    assert to_format(y, LAST) is y
