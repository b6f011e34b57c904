"""Layers in torch's FakeTensorMode, where tensors have sizes and no numbers."""

import torch
from test_every_layer import all_layers, close, image, make, trained_gradients
from torch._subclasses.fake_tensor import FakeTensorMode

from conv_kan import KANConv
from conv_kan.ops.cpp import build


def on_kernels(name):
    """A layer that computes by compiled kernels wherever it has some."""
    layer = make(name)
    for part in layer.modules():
        if hasattr(part, "backend"):
            part.backend = "cpp"
    return layer


def forms(tensors):
    """Size, dtype and order in memory; an axis of one element has no place in an order."""
    return [
        None
        if t is None
        else (t.shape, t.dtype, [s for s, n in zip(t.stride(), t.shape, strict=True) if n > 1])
        for t in tensors
    ]


@all_layers
def test_a_step_without_numbers_has_the_sizes_of_one_with(name):
    layer, x = on_kernels(name), image(name)
    x = x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x
    before = trained_gradients(layer, x)
    layer.zero_grad()
    mode = FakeTensorMode()
    twin = on_kernels(name)._apply(mode.from_tensor)
    with mode:
        found = trained_gradients(twin, mode.from_tensor(x))
    assert forms(found) == forms(before)
    close(trained_gradients(layer, x), before, 0)  # nothing without numbers has stayed


def test_nothing_is_compiled_and_scratch_memory_is_not_shared(monkeypatch):
    layer = KANConv(16, 16, 3, padding=1, norm="batch", backend="cpp")
    x = torch.randn(4, 16, 32, 32)  # above the smallest block of scratch memory
    before = trained_gradients(layer, x)
    layer.zero_grad()
    mode = FakeTensorMode()
    other = KANConv(16, 16, 3, padding=1, basis="rbf", norm="batch", backend="cpp")
    other._apply(mode.from_tensor)
    with monkeypatch.context() as patch, mode:
        patch.setattr(build, "_library", None)
        found = trained_gradients(other, torch.empty(x.shape))
    assert found[0].shape == before[0].shape
    close(trained_gradients(layer, x), before, 0)
