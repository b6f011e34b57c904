"""VGG networks: size tables, heads, attention and the smallest images."""

import copy
from typing import Any

import pytest
import torch
from torch import nn

from conv_kan.interop import export_published, load_published
from conv_kan.layers import SelfAttention
from models import create_model, list_models
from models.heads import KAN_HEADS, LINEAR_HEADS
from models.rows import common
from models.rows.vggkan import VGG_TYPES
from models.vggkan import plan_vgg

VGGS = list_models("*vgg*")


def build(name: str = "vggkagn", **options: Any) -> Any:
    options = {"width_scale": 0.25, **options}
    return create_model(name, num_classes=10, input_channels=3, **options)


@pytest.mark.parametrize(
    ("vgg_type", "tokens"),
    [
        ("VGG11", "16 M 32 M 64 64 M 128 128 M 128 128"),
        ("VGG11v3", "16 M 32 M 64 64 M 128 128 M 128 128 M 128 256"),
        ("VGG13v2", "16 16 M 32 32 M 64 64 M 128 128 M 128 128 M 128 128"),
        ("VGG11sa", "16 M 32 M 64 64 SA M 128 128 SA M 128 128"),
        ("VGG11v4sa", "16 M 32 M 64 64 M 128 128 SA M 128 128 SA M 256 256"),
    ],
)
def test_size_tables(vgg_type: str, tokens: str) -> None:
    assert VGG_TYPES[vgg_type] == tuple(tokens.split())
    assert len(VGG_TYPES) == 24


def test_plan_scales_channels() -> None:
    steps = plan_vgg("VGG11", 3, 0.5, last_attention=False)
    assert [s.c_out for s in steps if s.kind == "conv"] == [8, 16, 32, 32, 64, 64, 64, 64]
    assert steps[0].c_in == 3


@pytest.mark.parametrize("name", VGGS)
def test_maps_have_the_shapes_of_the_plain_twin(name: str) -> None:
    def shapes(model: Any) -> list[torch.Size]:
        x, result = torch.randn(2, 3, 32, 32), []
        for layer in model.features:
            x = layer(x)
            result.append(x.shape)
        return result

    options = {"vgg_type": "VGG13v3", "width_scale": 0.125}
    assert shapes(build(name, **options)) == shapes(build("vgg", **options))


@pytest.mark.parametrize("name", VGGS)
def test_attention_works_for_every_family(name: str) -> None:
    options = {"sa_inner_projection": 2, "last_attention": True, "groups": 2, "dropout": 0.1}
    model = build(name, vgg_type="VGG11sa", **options)
    attentions = [layer for layer in model.features if isinstance(layer, SelfAttention)]
    assert [a.inner_proj.out_channels for a in attentions] == [8, 16, 16]
    logits = model(torch.randn(4, 3, 32, 32))
    logits.square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_attention_without_projection_keeps_all_channels() -> None:
    model = build(vgg_type="VGG11v3", last_attention=True)
    assert isinstance(model.features[-1].inner_proj, nn.Identity)
    assert model.head[1].in_features == 32  # the replaced convolution had 32 -> 64


def test_projection_options_that_cannot_work() -> None:
    with pytest.raises(ValueError, match="sa_inner_projection=2 has no effect without attention"):
        build(sa_inner_projection=2)
    with pytest.raises(ValueError, match="sa_inner_projection=64 leaves no channels of 16"):
        build(vgg_type="VGG11sa", sa_inner_projection=64)
    with pytest.raises(ValueError, match=r"groups=4.* the layer 2 -> 2"):
        build(vgg_type="VGG11sa", sa_inner_projection=8, groups=4)


def test_names_of_heads_are_those_of_their_builders() -> None:
    assert (tuple(LINEAR_HEADS), tuple(KAN_HEADS)) == (common.LINEAR_HEADS, common.KAN_HEADS)


@pytest.mark.parametrize("head", [*LINEAR_HEADS, *KAN_HEADS])
def test_heads(head: str) -> None:
    model = build(head=head, feature_shape=[2, 1])
    logits = model(torch.randn(2, 3, 32, 32))
    nested = {"matryoshka": 5, "kantryoshka": 5}.get(head)
    if nested is None:
        assert logits.shape == (2, 10)
    else:
        assert [part.shape for part in logits] == [(2, 10)] * nested
    assert model.num_features == 32 * 2


def test_nested_logits_use_the_first_features() -> None:
    head = build(head="kantryoshka").head[-1]
    x = torch.randn(3, 512)
    logits = head(x)
    assert head.sizes == (32, 64, 128, 256, 512)
    torch.testing.assert_close(logits[-1], head.linear(x))
    masked = x.clone()
    masked[:, 64:] = 0
    torch.testing.assert_close(logits[1], head.linear(masked))


@pytest.mark.parametrize(
    ("options", "smallest"),
    [
        ({"vgg_type": "VGG11v4"}, 32),
        ({"vgg_type": "VGG11"}, 16),
        ({"vgg_type": "VGG11", "norm": "instance"}, 32),
    ],
)
def test_smallest_images(options: dict[str, Any], smallest: int) -> None:
    model = build(**options)
    assert model(torch.randn(2, 3, smallest, smallest)).shape == (2, 10)
    with pytest.raises(ValueError, match=f"images of 8x8 .* the smallest are {smallest}x"):
        model(torch.randn(2, 3, 8, 8))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("vggkacn", {}),
        ("vggkacn", {"head": "kantryoshka"}),
        ("vgg_wav_kan", {}),
        ("vggkagn", {"last_attention": True}),
    ],
)
@pytest.mark.filterwarnings("ignore:an instance norm")
def test_a_norm_that_leaves_constant_features_is_not_trained(name: str, options: Any) -> None:
    """It is built, evaluated and copied: published networks are, and their weights load."""
    model = build(name, norm="instance", **options)
    load_published(model, export_published(build(name, norm="instance", **options)))
    x = torch.randn(2, 3, 32, 32, requires_grad=True)

    def loss() -> torch.Tensor:
        logits = copy.deepcopy(model)(x)
        parts = (logits,) if isinstance(logits, torch.Tensor) else logits
        return torch.stack([part.square().sum() for part in parts]).sum()

    with pytest.raises(ValueError, match="the same for every image: the network cannot learn"):
        loss().backward()
    model.eval()
    loss().backward()  # what an image contributes may be asked for
    assert x.grad is not None


def test_a_norm_that_leaves_constant_features_warns_before_a_wider_pool() -> None:
    with pytest.warns(UserWarning, match="cannot learn"):
        model = build("vggkacn", norm="instance", feature_shape=(7, 7))
    model(torch.randn(2, 3, 32, 32)).sum().backward()
