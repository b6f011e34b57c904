"""The arguments that layers share: listed by each, said once below."""

import inspect
from dataclasses import fields

import pytest
from torch import nn

from conv_kan import Bottleneck, BottleneckLinear, KANConv, KANLinear, WavKANConv, WavKANLinear
from conv_kan.layers.style import Style

LAYERS = [Bottleneck, BottleneckLinear, KANConv, KANLinear, WavKANConv, WavKANLinear]
SIZES = {Bottleneck: (4, 4, 3), KANConv: (4, 4, 3), WavKANConv: (4, 4, 3)}
OTHERS = {  # none of them a default
    "base": "gelu",
    "norm": "group",
    "norm_position": "input",
    "affine": False,
    "activation": "prelu",
    "dropout": 0.25,
    "dropout_position": "output",
    "dropout_kind": "noise",
    "backend": "torch",
}


def make(layer, **options):
    return layer(*SIZES.get(layer, (4, 4)), **options)


@pytest.mark.parametrize("layer", LAYERS)
def test_every_argument_that_a_layer_lists_reaches_it(layer):
    assert {field.name for field in fields(Style)} == set(OTHERS)
    listed = inspect.signature(layer).parameters
    chosen = {name: value for name, value in OTHERS.items() if name in listed}
    assert len(chosen) >= 7 and all(listed[name].default != chosen[name] for name in chosen)
    made = make(layer, **chosen)
    assert isinstance(made.norm, nn.GroupNorm) and made.norm.weight is None
    assert made.activation.name == "prelu"
    for name in set(chosen) - {"norm", "affine", "activation"}:
        assert getattr(made, name) == chosen[name], name


@pytest.mark.parametrize("layer", LAYERS)
def test_what_is_wrong_is_named(layer):
    with pytest.raises(TypeError, match=rf"^{layer.__name__} has no argument .nrom.; .* .norm."):
        make(layer, nrom="batch")
    with pytest.raises(ValueError, match="base='sillu' is unknown; did you mean 'silu'"):
        make(layer, base="sillu")
    with pytest.raises(ValueError, match=r"dropout=1.5 must lie in \[0, 1\)"):
        make(layer, dropout=1.5)


def test_a_layer_of_wavelets_offers_its_own_positions():
    for position in ("functions", "inputs"):
        with pytest.raises(ValueError, match=r"Choose one of basis, input, output\.$"):
            make(WavKANConv, dropout_position=position)
    with pytest.raises(ValueError, match=r"Choose one of basis, input, output, functions\.$"):
        make(KANConv, dropout_position="inputs")
