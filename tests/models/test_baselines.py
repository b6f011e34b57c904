"""The 4- and 8-layer networks: their head, their dropout and their plain twins."""

from typing import Any

import pytest
import torch
from torch import nn

from models import create_model, list_models

BASELINES = list_models("simple_conv*") + list_models("eight_simple_conv*")
SIZES = {"simple_conv": (4, 6, 8, 10), "eight_simple_conv": (4, 6, 8, 10, 12, 14, 16, 18)}


def twin_of(name: str) -> str:
    return "eight_simple_conv" if name.startswith("eight") else "simple_conv"


def build(name: str, **options: Any) -> Any:
    options = {"layer_sizes": SIZES[twin_of(name)], **options}
    return create_model(name, num_classes=10, input_channels=3, **options)


def map_shapes(model: Any, size: int = 30) -> list[torch.Size]:
    """The shape of the image and of what every layer makes of it."""
    x = torch.randn(2, 3, size, size)
    shapes = []
    for layer in model.features:
        x = layer(x)
        shapes.append(x.shape)
    return shapes


@pytest.mark.parametrize("name", BASELINES)
def test_layers_have_the_shapes_of_the_plain_twin(name: str) -> None:
    shapes = map_shapes(build(name))
    assert shapes == map_shapes(build(twin_of(name)))
    sides = (30, 15, 8, 8) if len(shapes) == 4 else (30, 15, 8, 8, 8, 4, 4, 4)
    assert tuple(shape[-1] for shape in shapes) == sides


def test_first_layer_has_one_group_and_no_dropout() -> None:
    model = build("simple_conv_kagn", groups=2, dropout=0.5)
    assert [layer.geometry.groups for layer in model.features] == [1, 2, 2, 2]
    assert [layer.dropout for layer in model.features] == [0.0, 0.5, 0.5, 0.5]
    twin = build("simple_conv", groups=2, dropout=0.5)
    assert [layer.conv.groups for layer in twin.features] == [1, 2, 2, 2]
    assert [hasattr(layer, "dropout") for layer in twin.features] == [False, True, True, True]


@pytest.mark.parametrize("name", ["simple_conv_kagn", "simple_conv_wavkan"])
def test_dropout_acts_where_and_as_it_is_told(name: str) -> None:
    plain = build(name, dropout_position="input", dropout_kind="noise").features[1]
    assert (plain.dropout_position, plain.dropout_kind) == ("input", "noise")
    squeezed = [build(name, form="bottleneck", dropout_kind=kind) for kind in (None, "channel")]
    assert [model.features[1].dropout_kind for model in squeezed] == ["noise", "channel"]
    with pytest.raises(ValueError, match=r"dropout_position=basis is none of form=bottleneck, wh"):
        build(name, form="bottleneck", dropout_position="basis")


def test_degree_of_the_head_is_its_own() -> None:
    def head_functions(**options: Any) -> int:
        return build("simple_conv_kagn", **options).head[1].layers[0].basis.num_functions

    assert head_functions(degree=5) == 4
    assert head_functions(degree_out=2) == 3
    with pytest.raises(ValueError, match="degree_out=2 has no effect with head=linear"):
        head_functions(head="linear", degree_out=2)


def test_options_of_the_layers_arrive() -> None:
    layer = build("simple_conv_kan", norm="group", affine=False, base="none",
                  activation="silu", scale="none").features[1]  # fmt: skip
    assert isinstance(layer.norm, nn.GroupNorm) and layer.norm.weight is None
    assert layer.base_weight is None and layer.activation.name == "silu"
    assert layer.basis.scale == 1.0
    assert build("simple_conv", norm="none").features[1][-2].weight.ndim == 4


@pytest.mark.filterwarnings("ignore:an instance norm")
def test_a_norm_that_leaves_constant_features_is_not_trained() -> None:
    def train(name: str, **options: Any) -> None:
        build(name, norm="instance", **options)(torch.randn(2, 3, 8, 8)).sum().backward()

    with pytest.raises(ValueError, match="cannot learn"):
        train("simple_conv_kacn")
    train("simple_conv_kacn", activation="silu")
    train("simple_conv_kagn")


def test_smallest_images() -> None:
    assert build("simple_conv_kagn")(torch.randn(2, 3, 1, 1)).shape == (2, 10)
    model = build("simple_conv_kagn", norm="instance")
    assert model(torch.randn(2, 3, 5, 5)).shape == (2, 10)
    with pytest.raises(ValueError, match=r"images of 4x5 are too small.*the smallest are 5x5"):
        model(torch.randn(2, 3, 4, 5))
    with pytest.raises(ValueError, match=r"\(B, C, H, W\), got \(3, 5, 5\)"):
        model(torch.randn(3, 5, 5))
