"""Noise injection and where dropout acts."""

import pytest
import torch
import torch.nn.functional as F

from conv_kan import Bottleneck, KANConv, WavKANConv
from conv_kan.layers.noise import drop, inject_noise


def test_size_and_share_of_the_noise():
    torch.manual_seed(0)
    x = torch.randn(64, 2, 40, 40) * torch.tensor([1.0, 10.0]).view(1, 2, 1, 1) + 3.0
    noise = inject_noise(x, 0.3, strength=0.5) - x
    for c, scale in enumerate((1.0, 10.0)):
        hit = noise[:, c][noise[:, c] != 0]
        assert hit.numel() / noise[:, c].numel() == pytest.approx(0.3, abs=0.01)
        assert hit.std().item() == pytest.approx(0.5 * scale, rel=0.02)


def test_one_value_per_channel_and_empty_batches_get_none():
    for x in (torch.randn(1, 3), torch.randn(1, 3, 1, 1), torch.randn(0, 3, 4, 4)):
        assert torch.equal(inject_noise(x, 0.9), x)


def test_the_gradient_passes_unchanged():
    x = torch.randn(4, 3, 5, requires_grad=True)
    inject_noise(x, 0.5).sum().backward()
    torch.testing.assert_close(x.grad, torch.ones_like(x))


@pytest.mark.parametrize("ndim", [0, 1, 2, 3])
@pytest.mark.parametrize("kind", ["channel", "noise"])
def test_every_rank(ndim, kind):
    x = torch.randn(8, 4, *(3, 4, 5)[:ndim]).bfloat16()
    y = drop(x, 0.5, kind)
    assert y.shape == x.shape and y.dtype == x.dtype and y.isfinite().all()


@pytest.mark.parametrize("make", [KANConv, WavKANConv])
@pytest.mark.parametrize("position", ["basis", "input", "output"])
def test_layers_are_noisy_in_training_alone(make, position):
    layer = make(4, 6, 3, dropout=0.5, dropout_position=position, dropout_kind="noise", norm=None)
    x = torch.randn(2, 4, 6, 6)
    assert not torch.equal(layer(x), layer(x))
    layer.eval()
    torch.testing.assert_close(layer(x), layer(x), rtol=0, atol=0)
    assert "dropout_kind='noise'" in repr(layer)


@pytest.mark.parametrize("name", ["gram", "bspline"])
@pytest.mark.parametrize("base", ["silu", None])
def test_whole_functions_are_dropped(name, base):
    """Against the naive layer with the same mask: values and all gradients."""
    layer = KANConv(
        4, 6, 3, padding=1, basis=name, base=base, norm=None, activation=None, groups=2,
        dropout=0.4, dropout_position="functions",
    ).double()  # fmt: skip
    x = torch.randn(3, 4, 5, 6, dtype=torch.float64, requires_grad=True)
    mask = layer._function_mask(x)
    layer._function_mask = lambda x: mask
    k, n = layer.basis.num_functions, len(layer.basis.constants)
    per_function = mask.view(3, 4, -1)[:, :, base is not None :]
    assert set(per_function.flatten().tolist()) == {0.0, 1 / 0.6}
    phi = layer.basis(x).unflatten(1, (4, k))
    kept = torch.cat([torch.ones_like(phi[:, :, :n, 0, 0]), per_function], 2)
    maps = (phi * kept[..., None, None]).flatten(1, 2)
    expected = F.conv2d(maps, layer.basis_weight.flatten(1, 2), padding=1, groups=2)
    if base is not None:
        expected = expected + F.conv2d(F.silu(x), layer.base_weight, padding=1, groups=2)
    y, sources = layer(x), [x, *layer.parameters()]
    torch.testing.assert_close(y, expected)
    grad_y = torch.randn_like(y)
    for one, other in zip(
        torch.autograd.grad(y, sources, grad_y),
        torch.autograd.grad(expected, sources, grad_y),
        strict=True,
    ):
        torch.testing.assert_close(one, other)
    composed = torch.func.functional_call(layer, dict(layer.named_parameters()), (x,))
    torch.testing.assert_close(torch.func.vmap(layer)(x.unsqueeze(0))[0], composed)
    layer.eval()
    del layer._function_mask
    assert layer._function_mask(x) is None


def test_a_bottleneck_is_noisy_in_both_branches():
    layer = Bottleneck(4, 6, 3, dropout=0.5, dropout_kind="noise", norm=None)
    x = torch.randn(2, 4, 6, 6)
    for silent in (layer.expand.weight, layer.base_weight):
        kept = silent.detach().clone()
        torch.nn.init.zeros_(silent)
        assert not torch.equal(layer(x), layer(x))
        silent.data.copy_(kept)
    with pytest.raises(ValueError, match="did you mean 'noise'"):
        KANConv(4, 6, 3, dropout_kind="noize")
    with pytest.raises(ValueError, match="dropout_position='basis'"):
        KANConv(4, 6, 3, dropout_kind="noise", dropout_position="functions")
