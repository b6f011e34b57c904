"""Published networks by their names: signatures, arguments, initial weights, AutoKAN."""

import inspect
import json
import math
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from conv_kan import published as layers
from conv_kan.layers import MixtureOfExperts
from conv_kan.published import arguments
from conv_kan.published.elsewhere import NETWORKS, find_elsewhere
from models import list_models, published
from models.published import AutoKAN, TinyAutoKAGN, get_published, list_published

# Names, and the signature of all of them, as the published code has it.
RECORDED = json.loads(
    (Path(__file__).parents[1] / "golden" / "network_signatures.json").read_text(encoding="utf-8")
)
SMALL: dict[str, Any] = {"input_channels": 3, "num_classes": 4, "width_scale": 0.125}


def parameters_of(name: str) -> str:
    """Of one function, as text, without what is taken by keyword only."""
    texts = []
    for key, parameter in inspect.signature(get_published(name)).parameters.items():
        if parameter.kind is parameter.POSITIONAL_OR_KEYWORD:
            value = getattr(parameter.default, "__name__", repr(parameter.default))
            has_default = parameter.default is not parameter.empty
            texts.append(f"{key}={value}" if has_default else key)
    return ", ".join(texts).replace("ChannelLayerNorm", "LayerNorm2d")


@pytest.mark.parametrize("names", RECORDED)
def test_signatures_are_the_published_ones(names: str) -> None:
    def without_zeros(text: str) -> str:
        return text.replace("=0.0", "=0")

    for name in names.split(", "):
        assert without_zeros(parameters_of(name)) == without_zeros(RECORDED[names]), name


def test_every_name_is_recorded_and_told_by_the_layers() -> None:
    recorded = {name for names in RECORDED for name in names.split(", ")}
    assert {*recorded, "AutoKAN"} == set(list_published())
    assert set(NETWORKS) <= set(list_published())
    for name in list_published():
        assert find_elsewhere(name) == f"networks are made by models.published.{name}"
        assert getattr(published, name) is get_published(name) and name in dir(published)
    unbuilt = [name for name in list_models() if "not built" in (find_elsewhere(name) or "")]
    assert not unbuilt, "these are built now: conv_kan/published/elsewhere.py says they are not"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("vggkagm", "no published network; the nearest are VGGKAGN, vggkagn"),
        ("reskagnet_18x64p", "the nearest are reskalnet_18x64p"),
        ("PEFTVGGKAGN", "not built here: see models.published.list_published"),
        ("U2KANetSmall", "models.published.ukagnet_18, u2kagnet_small and others"),
        ("KAGNConv2DLayer", "is a layer: conv_kan.published.KAGNConv2DLayer"),
        ("DenseKANet", "no network of models.published: models.published.densekagnet121 and"),
    ],
)
def test_unknown_names(name: str, words: str) -> None:
    with pytest.raises(AttributeError, match=words):
        getattr(published, name)
    with pytest.raises(ValueError, match=words):
        get_published(name)
    with pytest.raises(ImportError):
        exec(f"from models.published import {name}")


def test_arguments_arrive() -> None:
    with torch.device("meta"):
        check_arguments()


def check_arguments() -> None:
    model: Any = published.vggkan(
        3, 4, 1, 2, 4, nn.SiLU, [-2, 2], 0.1, 0, 0.5, "VGG11", "KAN", (2, 1), 0.25, True,
        nn.BatchNorm2d,
    )  # fmt: skip
    first, later, head = model.features[0], model.features[2], model.head[1].layers[0]
    assert (first.basis.order, first.basis.num_functions, first.basis.low) == (2, 4 + 2, -2)
    assert (first.base_name, head.base_name) == ("silu", "silu")
    assert isinstance(first.norm, nn.BatchNorm2d) and first.norm.weight is not None
    assert (first.dropout, later.dropout, model.head[0].p) == (0, 0.1, 0.5)
    assert model.num_features == 2 * 32 and later.c_out == 8

    model = published.densekagnet121bn(1, 2, 1, 2, 0, 0.5, 0, False, 4, 8, True, nn.InstanceNorm2d)
    assert len(model.features[0]) == 1 and isinstance(model.features[0][0].norm, nn.InstanceNorm2d)
    assert model.features[0][0].c_out == 8 and model.head[0].p == 0.5

    model = published.kagrdnet_tiny(1, 2, False, 2, patch_size=2, post_block_attention=True)
    assert model.features[0][0].geometry.kernel_size == (2, 2)
    attention = model.features[1][-1]
    assert attention.inner_proj.out_channels == attention.channels

    model = published.MoEVGGKAGN(**SMALL, num_experts=3, noisy_gating=False, k=1)
    mixture = model.features[2]
    assert (mixture.num_experts, mixture.k, mixture.noisy) == (3, 1, False)
    assert isinstance(mixture.experts[0].norm, nn.InstanceNorm2d)

    model = published.SimpleConvKAGN([4, 4, 4, 4], degree_out=1)
    assert isinstance(model.head[1], nn.Linear) and model.num_classes == 10
    head = published.SimpleConvKAGN([4, 4, 4, 4], degree_out=2).head[1].layers[0]
    assert head.basis.degree == 2


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("vggkagn", {"norm_layer": nn.GroupNorm}, "none of the norms of networks; pass nn.BatchN"),
        ("vggkagn", {"norm_layer": "batch"}, "norm_layer='batch' is none of the norms"),
        ("vggkan", {"base_activation": nn.PReLU}, "is no activation of networks; pass one of silu"),
        ("vggkagn", {"head_type": "Kan"}, "head_type='Kan' is not known; did you mean 'KAN'"),
        ("vgg_wav_kan", {"wav_version": "quick"}, "wav_version='quick' is not known; use base"),
        ("vggkagn", {"vgg_type": "VGG12"}, "vggkagn: vgg_type='VGG12' is not known"),
    ],
)
def test_values_that_no_network_has(name: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        get_published(name)(**SMALL, **options)


def test_arguments_that_are_misspelt() -> None:
    with pytest.raises(TypeError, match="no argument 'norm'; did you mean 'norm_layer'"):
        published.vggkagn(3, 10, norm=None)
    with pytest.raises(TypeError, match="missing a required argument: 'num_classes'"):
        published.vggkagn(3)


def test_arguments_without_effect_are_said_once() -> None:
    arguments.say_once.cache_clear()
    with torch.device("meta"):
        with pytest.warns(UserWarning, match="penalty.l1_decay=0.1 of a run") as caught:
            published.vggkagn(**SMALL, l1_decay=0.1)
        assert caught[0].filename == __file__
        with pytest.warns(UserWarning, match="hidden_layer_dim=8 does nothing, as published"):
            published.reskagnet_18x32p(**SMALL, hidden_layer_dim=8)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            published.vggkagn(**SMALL, l1_decay=0.1)


def spread(weight: torch.Tensor) -> float:
    return weight.detach().double().square().mean().sqrt().item()


def test_weights_begin_as_in_published_layers() -> None:
    """Kaiming over a wrong fan in for Gram; in mixtures equal experts, or none, and no gates."""
    torch.manual_seed(0)
    conv: Any = published.SimpleConvKAGN([8, 16, 8, 8]).features[1]
    ours, there = conv.basis_weight, layers.KAGNConv2DLayer(8, 16, 3).basis_weight
    bound = math.sqrt(3 / (16 * 8 * 4 * 9))
    assert bound * 0.99 < ours.abs().max() <= bound
    assert spread(ours) == pytest.approx(spread(there), rel=0.05)
    mixture: Any = published.moe_vggkagn(**SMALL, num_experts=2).features[2]
    one, other = mixture.experts
    assert torch.equal(one.basis_weight, other.basis_weight) and not mixture.gate_weight.any()
    inner: Any = published.moe_vggkagn_bn(**SMALL, num_experts=2).features[2].inner
    one, other = inner.experts
    assert isinstance(inner, MixtureOfExperts) and not inner.gate_weight.any()
    assert not torch.equal(one.basis_weight, other.basis_weight)
    waves: Any = published.SimpleConvWavKAN([4] * 4).features[1]
    assert spread(waves.wavelet_weight) == pytest.approx(1 / math.sqrt(4 * 9), rel=0.2)


def test_auto_has_names_of_its_own() -> None:
    with torch.device("meta"):
        model: Any = AutoKAN("ukagnet18", 3, 10, width_scale=0.25, norm_layer="batchnorm2d")
        assert isinstance(model.encoder[0][0].norm, nn.BatchNorm2d) and model.num_classes == 10


@pytest.mark.parametrize("name", ["densekalnet169", "densekagnet201", "fast_vggkan"])
def test_auto_makes_the_network_that_it_is_told(name: str) -> None:
    options: dict[str, Any] = {"model_name": name, "input_channels": 3, "num_classes": 10}
    before = dict(options)
    with torch.device("meta"):
        model: Any = AutoKAN(**options)
        own = get_published(name)(3, 10, affine=True)
    assert options == before and isinstance(model, nn.Module)
    shapes = {key: value.shape for key, value in model.state_dict().items()}
    assert shapes == {key: value.shape for key, value in own.state_dict().items()}


def test_auto_takes_names_of_norms_and_activations() -> None:
    options: dict[str, Any] = {**SMALL, "norm_layer": "batchnorm2d", "base_activation": "relu"}
    model: Any = AutoKAN(model_name="vggkan", **options)
    layer = model.features[0]
    assert isinstance(layer.norm, nn.BatchNorm2d) and layer.base_name == "relu"
    assert (layer.basis.order, layer.basis.num_functions, model.head[0].p) == (3, 5 + 3, 0)
    for change, error, words in (
        ({"norm_layer": "batch2d"}, ValueError, "norm_layer='batch2d' is not known; did you mean"),
        ({"base_activation": "prelu"}, ValueError, "'prelu' is no activation of networks"),
        ({"model_name": "vggkam"}, ValueError, "the nearest are VGGKAN, vggkan"),
        ({"model_name": "ukanet19"}, ValueError, "the nearest are ukanet_18"),
        ({"degree": 4}, TypeError, "vggkan has no argument 'degree'"),
    ):
        with pytest.raises(error, match=words):
            AutoKAN(**{"model_name": "vggkan", **options, **change})


TINY = {
    ("VGG", False): "vggkagn_bn",
    ("VGG", True): "moe_vggkagn_bn",
    ("DenseNet", False): "tiny_densekagnet_bn",
    ("DenseNet", True): "tiny_densekagnet_moebn",
}


@pytest.mark.parametrize(("model_type", "is_moe"), TINY)
def test_tiny_networks(model_type: str, is_moe: bool) -> None:
    own = {"VGG": {"expected_feature_shape": (1, 1), "affine": True}, "DenseNet": {}}[model_type]
    with torch.device("meta"):
        model: Any = TinyAutoKAGN(3, 10, model_type, is_moe, dropout=0.1)
        make = get_published(TINY[model_type, is_moe])
        wanted = make(3, 10, norm_layer=nn.BatchNorm2d, **own)
    assert {key: value.shape for key, value in model.state_dict().items()} == {
        key: value.shape for key, value in wanted.state_dict().items()
    }


def test_tiny_networks_are_told_what_does_nothing() -> None:
    with pytest.raises(ValueError, match="growth_rate=8 has no effect with model_type='VGG'"):
        TinyAutoKAGN(3, 10, "VGG", growth_rate=8)
    with pytest.raises(ValueError, match="width_scale=2 has no effect with model_type='DenseNet'"):
        TinyAutoKAGN(3, 10, "DenseNet", width_scale=2)
    with pytest.raises(
        ValueError, match="model_type='ResNet' is not known; did you mean 'DenseNet'"
    ):
        TinyAutoKAGN(3, 10, "ResNet")
