"""Counts of parameters and multiply-accumulates against numbers worked out by hand."""

import pytest
import timm
import torch
from torch import nn

from conv_kan.layers import KANConv, WavKANConv
from models import create_model
from models.complexity import count_macs, count_parameters, list_layers


def test_parameters_that_train_are_counted_once():
    shared = nn.Linear(3, 4)  # 12 + 4
    model = nn.ModuleList([shared, shared, nn.Linear(2, 2, bias=False)])
    model[2].weight.requires_grad_(False)
    assert count_parameters(model) == 16


def test_convolution_and_linear():
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Flatten(), nn.Linear(8 * 36, 10))
    assert count_macs(model, (3, 6, 6)) == 36 * 8 * 3 * 9 + 8 * 36 * 10


def test_grouped_and_strided_convolution():
    model = nn.Conv2d(4, 8, 3, stride=2, groups=2)
    assert count_macs(model, (4, 7, 7)) == 9 * 8 * 2 * 9


def test_kan_convolution_is_the_convolution_of_its_expansion():
    """Gram of degree 3 beside the base: at most 5 channels per input channel; the constant
    function's response may be computed without a convolution over the image's values."""
    macs = count_macs(KANConv(2, 4, 3, padding=1), (2, 8, 8))
    per_channel = 64 * 4 * 2 * 9
    assert 4 * per_channel <= macs <= 5 * per_channel


@pytest.mark.parametrize("groups", [1, 2])
def test_wavelets_of_every_edge_and_their_mixing_are_counted(groups):
    layer = WavKANConv(4, 8, 3, padding=1, stride=2, groups=groups)
    outputs = 8 * 4 * 4
    branches = 2 * (4 // groups) * 9  # wavelets, and the base
    assert count_macs(layer, (4, 8, 8)) == outputs * (branches + 8 // groups)


def test_a_wavelet_network_as_counted_by_hand():
    model = create_model(
        "simple_conv_wavkan", num_classes=10, input_channels=1, layer_sizes=[8, 16, 16, 32],
        head="linear",
    )  # fmt: skip
    sizes = [(1, 8, 16), (8, 16, 8), (16, 16, 4), (16, 32, 4)]
    layers = sum(side * side * o * (2 * 9 * c + o) for c, o, side in sizes)
    assert count_macs(model, (1, 16, 16)) == layers + 32 * 10


def test_attention_is_counted():
    model = timm.create_model(
        "vit_tiny_patch16_224", img_size=32, patch_size=8, depth=2, num_classes=3
    )
    n, d = 17, 192  # 16 patches and the class token
    block = n * (3 * d * d + d * d + 8 * d * d) + 2 * n * n * d
    assert count_macs(model, (3, 32, 32)) == 16 * 3 * 64 * d + 2 * block + 3 * d


def test_the_fast_path_of_multi_head_attention_is_counted():
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    n, d = 5, 8
    expected = n * (4 * d * d + 2 * d * 16) + 2 * n * n * d
    assert count_macs(layer, (n, d)) == expected
    assert torch.backends.mha.get_fastpath_enabled()


@pytest.mark.parametrize("fails", [False, True])
def test_no_trace_is_left(fails):
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout(), nn.Flatten())
    model[1].eval()  # a frozen norm stays frozen
    modes = [module.training for module in model.modules()]
    state = {key: value.clone() for key, value in model.state_dict().items()}
    random = torch.get_rng_state()
    if fails:
        with pytest.raises(RuntimeError):
            count_macs(model, (5, 4, 4))
    else:
        count_macs(model, (1, 4, 4))
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


def test_double_precision_models():
    assert count_macs(nn.Linear(4, 2).double(), (4,)) == 8


def test_layers_have_their_own_share():
    conv, shared = KANConv(2, 4, 3, padding=1), nn.Conv2d(4, 4, 1)
    model = nn.Sequential(conv, nn.Sequential(shared, nn.ReLU()), shared, nn.Flatten())
    kan, twice, relu, flat = list_layers(model, (2, 6, 6))
    assert (kan.path, kan.kind, kan.output_shape) == ("0", "KANConv Gram", (4, 6, 6))
    assert (twice.path, relu.path, flat.path) == ("1.0", "1.1", "3")
    assert kan.parameters + twice.parameters == count_parameters(model)
    assert twice.macs == 2 * 36 * 16 and relu.macs == 0 and flat.output_shape == (4 * 36,)
    assert kan.macs + twice.macs == count_macs(model, (2, 6, 6))
