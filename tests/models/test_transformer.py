"""Transformers: published sizes, initial variance, timm's contract, mistakes in words."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import timm
import torch
from timm.optim import param_groups_layer_decay
from torch import Tensor

from conv_kan.interop import export_published
from models import create_model
from models.rows.transformer import PUBLISHED

SMALL: dict[str, Any] = {"image_size": 16, "patch_size": 4, "width": 24, "heads": 3, "depth": 3}
FORMS: list[dict[str, Any]] = [
    {},
    {"feed_forward": "kat", "mimetic": True},
    {"feed_forward": "chebyshev", "expansion": None, "degree": 4, "position": "patches"},
    {"feed_forward": "gram", "expansion": 1.0, "base": "silu", "drop_path": 0.1},
    {"feed_forward": "efficient", "head": "kan", "head_kind": "efficient", "head_sizes": (8,)},
    {"distilled": True, "layer_scale": 0.1},
    {"pool": "avg", "pre_logits": 12, "dropout": 0.1},
]
forms = pytest.mark.parametrize("options", FORMS, ids=lambda o: "-".join(map(str, o.values())))


def small(**options: Any) -> Any:
    torch.manual_seed(0)
    return create_model("vit", num_classes=5, input_channels=3, **{**SMALL, **options})


def images(side: int = 16) -> Tensor:
    return torch.randn(4, 3, side, side, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("name", "num_classes", "parameters"),
    [
        ("kat_tiny_patch16_224", 1000, 5_718_328),
        ("kat_tiny_gelu_patch16_224", 10, 5_527_258),
        ("kat_small_swish_patch16_224", 1000, 22_051_576),
        ("kat_small_patch16_224", 10, 21_670_426),
        ("kat_base_patch16_224", 1000, 86_568_568),
        ("kat_base_patch16_224", 10, 85_807_258),
        ("kan_deit_tiny_patch16_224", 1000, 6_148_072),
        ("kan_deit_small_patch16_224", 1000, 23_796_712),
        ("kan_deit_base_patch16_224", 1000, 93_598_696),
        ("kit_base_patch16_224", 10, 41_423_872),
        ("kit_base_patch16_224", 1000, 42_057_472),
    ],
)
def test_published_sizes(name: str, num_classes: int, parameters: int) -> None:
    with torch.device("meta"):
        model = create_model(name, num_classes=num_classes, input_channels=3)
    assert sum(p.numel() for p in model.parameters()) == parameters


@pytest.mark.parametrize("name", ["kat_tiny_patch16_224", "kat_tiny_gelu_patch16_224"])
def test_feed_forwards_keep_the_variance_at_first(name: str) -> None:
    """And the published ones, which timm's draw overwrites, do not."""
    ratios = {}
    for init in ("variance", "published"):
        torch.manual_seed(0)
        model = create_model(name, num_classes=10, input_channels=3, init=init)
        x = torch.randn(256, 192)
        with torch.no_grad():
            ratios[init] = [float(block.mlp(x).var() / x.var()) for block in model.blocks]
    assert len(ratios["variance"]) == 12
    assert all(0.5 < ratio < 2 for ratio in ratios["variance"]), ratios["variance"]
    assert all(ratio < 0.1 for ratio in ratios["published"]), ratios["published"]


def test_attention_begins_near_the_identity() -> None:
    model = small(feed_forward="kat", mimetic=True, width=48)
    attention = model.blocks[0].attn
    q, k, v = (part.view(3, 16, 48) for part in attention.qkv.weight.detach().chunk(3))
    for head in range(3):
        product = q[head].T @ k[head]  # of rank 16: a third of 0.7 Z + 0.7 I
        assert product.diagonal().mean() > 5 * product.mean().abs()
    product = attention.proj.weight @ v.reshape(48, 48)
    assert product.diagonal().mean().item() == pytest.approx(-0.4, abs=0.2)
    other = model.blocks[1].attn.qkv.weight
    assert not torch.equal(other, attention.qkv.weight)


@forms
def test_keeps_what_timm_promises(options: dict[str, Any]) -> None:
    model, x = small(**options).eval(), images()
    with torch.no_grad():
        logits = model(x)
        last, maps = model.forward_intermediates(x, indices=[0, 2])
        assert [tuple(m.shape) for m in maps] == [(4, 24, 4, 4)] * 2
        torch.testing.assert_close(model.forward_head(last), logits)
        model.set_input_size((24, 24))
        assert model(images(24)).shape == (4, 5)
        model.reset_classifier(7)
        assert model(images(24)).shape == (4, 7)
    heads = {type(head) for head in (model.head, small(**options).head)}
    assert len(heads) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        groups = param_groups_layer_decay(model, layer_decay=0.5)
    assert len({group["lr_scale"] for group in groups}) == 5  # stem, three blocks, head


@forms
def test_checkpoints_of_blocks_change_no_gradient(options: dict[str, Any]) -> None:
    gradients = []
    for enabled in (False, True):
        model = small(**options, grad_checkpointing=enabled).double()
        torch.manual_seed(3)
        model(images().double()).square().mean().backward()
        gradients.append([p.grad for p in model.parameters()])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


def test_learned_functions_have_no_weight_decay() -> None:
    names = small(feed_forward="kat").no_weight_decay()
    assert {"blocks.0.mlp.act1.numerator", "blocks.2.mlp.act2.denominator", "pos_embed"} <= names
    assert not any("fc1" in name for name in names)


def test_names_of_kat_are_the_published_ones() -> None:
    keys = export_published(small(feed_forward="kat"))
    plain = timm.create_model(
        "vit_tiny_patch16_224", img_size=16, patch_size=4, embed_dim=24, depth=3, num_heads=3
    )
    acts = {f"blocks.{i}.mlp.act{j}.weight_{part}" for i in range(3) for j in (1, 2)
            for part in ("numerator", "denominator")}  # fmt: skip
    assert set(keys) == set(plain.state_dict()) | acts


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"patch_size": 5}, "image_size=16 is not divided by patch_size=5; use one of 1, 2, 4, 8"),
        ({"width": 25}, "width=25 is not divided by heads=3; use width=27"),
        ({"feed_forward": "kat", "groups": 5}, "groups=5 must divide the 24 channels"),
        ({"feed_forward": "kat", "expansion": None}, "type expansion=4"),
        ({"degree": 3}, "degree=3 has no effect with feed_forward=mlp; leave it out, or choose"),
        ({"feed_forward": "kat", "activation": "geluu"}, "did you mean 'gelu'"),
        ({"distilled": True, "pool": "avg"}, "type pool=token"),
        ({"head_degree": 3}, "head=kan"),
    ],
)
def test_mistakes_are_told(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words.replace("?", "[?]")):
        small(**options)


@pytest.mark.parametrize("name", ["kat", "kat_tiny_patch16_224", "kan_deit_tiny_patch16_224"])
def test_mistakes_in_sizes_are_told_by_every_name(name: str) -> None:
    for options, words in (
        ({"image_size": 225}, "image_size=225 is not divided by patch_size=16; use one of 1, 3, 5"),
        ({"heads": 5}, "width=192 is not divided by heads=5; use width=195"),
        *([({"groups": 7}, "groups=7 must divide the 192 channels of a token")] * ("kat" in name)),
    ):
        with torch.device("meta"), pytest.raises(ValueError, match=words):
            create_model(name, num_classes=5, input_channels=3, **options)


@pytest.mark.parametrize("feed_forward", ["mlp", "kat", "chebyshev", "efficient"])
def test_images_of_another_size_are_refused(feed_forward: str) -> None:
    model = small(feed_forward=feed_forward)
    with pytest.raises(ValueError, match=r"image_size=24, or call set_input_size\(\(24, 24\)\)"):
        model(images(24))


def test_every_published_row_has_its_options() -> None:
    assert {name for name in PUBLISHED if "gelu" in name} == {
        f"kat_{size}_gelu_patch16_224" for size in ("tiny", "small", "base")
    }
