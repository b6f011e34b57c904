"""act(norm(y)) with less memory: the same numbers as torch's own composition."""

import copy

import pytest
import torch
from oracle import BASES, gradients
from torch import nn

from conv_kan import KANConv, KANLinear
from conv_kan.layers.activation import Activation
from conv_kan.ops.maths.norms import ChannelLayerNorm
from conv_kan.ops.norm_act import norm_act
from conv_kan.ops.plain.norm import plan_norm
from experiments.benchmarks.memory import kept_bytes

NORMS = {
    "batch": lambda: nn.BatchNorm2d(6),
    "batch-cumulative": lambda: nn.BatchNorm2d(6, momentum=None),
    "batch-plain": lambda: nn.BatchNorm2d(6, affine=False),
    "batch-untracked": lambda: nn.BatchNorm2d(6, track_running_stats=False),
    "instance": lambda: nn.InstanceNorm2d(6),
    "instance-affine": lambda: nn.InstanceNorm2d(6, affine=True),
    "instance-tracked": lambda: nn.InstanceNorm2d(6, track_running_stats=True),
    "group": lambda: nn.GroupNorm(3, 6),
    "group-plain": lambda: nn.GroupNorm(2, 6, affine=False),
    "layer": lambda: ChannelLayerNorm(6),
    "layer-plain": lambda: ChannelLayerNorm(6, elementwise_affine=False),
    "layer-whole": lambda: nn.LayerNorm((6, 5, 4)),
    "custom": lambda: nn.LocalResponseNorm(2),
}


def make(kind, activation="silu", dtype=torch.float64):
    norm = NORMS[kind]().to(dtype)
    for p in norm.parameters():
        nn.init.normal_(p, mean=1.0, std=0.3)
    return norm, Activation(activation, groups=2).to(dtype)


def compare(norm, act, y, tolerance=1e-10):
    twin = copy.deepcopy(norm)
    y = y.detach().requires_grad_()
    a = norm_act(y, norm, act.function, act.params)
    expected = act(twin(y))
    torch.testing.assert_close(a, expected, rtol=tolerance, atol=tolerance)
    grad = torch.randn_like(a)
    found = gradients(a, grad, [y, *norm.parameters(), *act.params])
    wanted = gradients(expected, grad, [y, *twin.parameters(), *act.params])
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)
    for name, buffer in twin.named_buffers():
        torch.testing.assert_close(norm.get_buffer(name), buffer, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("kind", NORMS)
@pytest.mark.parametrize("activation", ["silu", "prelu", "identity"])
def test_equals_torch_over_several_steps_and_in_eval(kind, activation):
    norm, act = make(kind, activation)
    for step in range(3):
        compare(norm, act, 3 * torch.randn(3, 6, 5, 4, dtype=torch.float64) + step)
    norm.eval()
    compare(norm, act, torch.randn(3, 6, 5, 4, dtype=torch.float64))
    norm.train()
    with torch.no_grad():
        norm_act(torch.randn(3, 6, 5, 4, dtype=torch.float64), norm, act.function, act.params)
    compare(norm, act, torch.randn(3, 6, 5, 4, dtype=torch.float64))


@pytest.mark.parametrize("kind", ["batch", "instance-affine", "group", "layer", "layer-whole"])
def test_channels_last(kind):
    norm, act = make(kind)
    y = torch.randn(3, 6, 5, 4, dtype=torch.float64).to(memory_format=torch.channels_last)
    compare(norm, act, y)


@pytest.mark.parametrize("kind", ["batch", "instance-affine", "group", "layer", "layer-whole"])
@pytest.mark.parametrize("parameters", [torch.float32, torch.bfloat16])
def test_half_precision(kind, parameters):
    norm, act = make(kind, dtype=parameters)
    exact, y = copy.deepcopy(norm).double(), torch.randn(3, 6, 5, 4).bfloat16().requires_grad_()
    a = norm_act(y, norm, act.function, act.params)
    assert a.dtype == torch.bfloat16
    a.float().sum().backward()
    expected = norm_act(y.double(), exact, act.function, act.params)
    torch.testing.assert_close(a.double(), expected, rtol=0.05, atol=0.05)
    assert y.grad.isfinite().all() and norm.weight.grad.dtype == parameters


def test_frozen_norm_and_running_statistics_changed_before_backward():
    norm, act = make("batch")
    norm.requires_grad_(False).eval()
    y = torch.randn(3, 6, 5, 4, dtype=torch.float64, requires_grad=True)
    a = norm_act(y, norm, act.function, act.params)
    (wanted,) = torch.autograd.grad(act(norm(y)).sum(), y)
    norm.running_var.mul_(2)
    (found,) = torch.autograd.grad(a.sum(), y)
    torch.testing.assert_close(found, wanted)


def test_features_of_a_linear_layer():
    for norm in (nn.BatchNorm1d(6), nn.LayerNorm(6), nn.GroupNorm(2, 6)):
        compare(norm.double(), Activation("silu"), torch.randn(7, 6, dtype=torch.float64))


def test_hooks_and_subclasses_take_the_plain_path():
    y = torch.randn(3, 6, 5, 4)
    norm = nn.BatchNorm2d(6)
    assert plan_norm(y, norm) is not None
    seen = []
    handle = norm.register_forward_hook(lambda *args: seen.append(args))
    norm_act(y, norm, torch.tanh)
    assert len(seen) == 1
    handle.remove()
    assert plan_norm(y, nn.SyncBatchNorm(6)) is None
    weighted = torch.nn.utils.parametrizations.weight_norm(nn.GroupNorm(2, 6), dim=None)
    assert plan_norm(y, weighted) is None


def test_too_few_values_raise_as_in_torch():
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        norm_act(torch.randn(1, 6, 1, 1), nn.BatchNorm2d(6), torch.tanh)
    with pytest.raises(ValueError, match="more than 1 spatial element"):
        norm_act(torch.randn(2, 6, 1, 1), nn.InstanceNorm2d(6), torch.tanh)
    with pytest.raises(ValueError, match="expected 4D"):
        norm_act(torch.randn(2, 6, 5), nn.BatchNorm2d(6), torch.tanh)


@pytest.mark.parametrize("name", BASES)
@pytest.mark.parametrize("norm", ["batch", "instance", "group"])
def test_training_keeps_little(name, norm):
    layer = KANConv(64, 64, 3, padding=1, basis=name, norm=norm)
    x = torch.randn(2, 64, 16, 16)
    kept = kept_bytes(lambda: layer(x.requires_grad_()), layer.parameters())
    assert kept <= 2.5 * x.nbytes
    linear = KANLinear(64, 64, basis=name)
    v = torch.randn(256, 64)
    assert kept_bytes(lambda: linear(v.requires_grad_()), linear.parameters()) <= 2.5 * v.nbytes


def test_training_keeps_little_with_a_norm_at_the_input():
    layer = KANConv(64, 64, 3, padding=1, basis="rbf", norm_position="input", activation=None)
    x = torch.randn(2, 64, 16, 16)
    assert kept_bytes(lambda: layer(x.requires_grad_()), layer.parameters()) <= 2.5 * x.nbytes
