"""Trained weights of ViT and KAT find their places; what was taken, resized and left is told."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.utils import CheckpointSaver
from torch import Tensor, nn

from conv_kan.interop import export_published, load_published
from models import create_model, model_options, save_pretrained
from models.description import Description
from models.weights import take_weights

SIZE: dict[str, Any] = {"img_size": 16, "patch_size": 4, "embed_dim": 24, "depth": 2}
OURS: dict[str, Any] = {"image_size": 16, "patch_size": 4, "width": 24, "depth": 2, "heads": 3}


def plain(num_classes: int = 5, **options: Any) -> Any:
    torch.manual_seed(1)
    net = timm.create_model(
        "vit_tiny_patch16_224", num_classes=num_classes, **{**SIZE, "num_heads": 3, **options}
    )
    with torch.no_grad():
        for parameter in net.parameters():  # away from zeros, of the size that training gives them
            parameter += 0.1 * torch.randn_like(parameter)
    return net.eval()


def kat(num_classes: int = 5, **options: Any) -> Any:
    torch.manual_seed(2)
    given = {**OURS, "activation": "gelu", **options}
    return create_model("kat", num_classes=num_classes, input_channels=3, **given).eval()


def images(side: int = 16) -> Tensor:
    return torch.randn(4, 3, side, side, generator=torch.Generator().manual_seed(1))


def relative(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().max() / other.abs().max())


def test_a_vit_becomes_a_kat_that_predicts_the_same(tmp_path: Path) -> None:
    vit, model = plain(), kat()
    torch.save(vit.state_dict(), tmp_path / "vit.pth")
    told = take_weights(model, tmp_path / "vit.pth")
    with torch.no_grad():
        wanted = vit(images())
        assert relative(model(images()), wanted) < 1e-2
        for block in model.blocks:
            block.mlp.act2 = nn.GELU()
        assert relative(model(images()), wanted) < 1e-5
    assert set(told.taken) == set(vit.state_dict()) and not told.resized and not told.unused
    assert set(told.left) == {
        f"blocks.{i}.mlp.act{j}.weight_{part}"
        for i in range(2) for j in (1, 2) for part in ("numerator", "denominator")
    }  # fmt: skip
    assert f"{len(told.taken)} tensors taken" in str(told) and "act1.weight_numerator" in str(told)


class Named(nn.Module):
    """A network that is saved under published names, as the published one is."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def state_dict(self, **options: Any) -> Any:
        return export_published(self.network)


@pytest.mark.parametrize("ema", [True, False])
@pytest.mark.parametrize("names", [Named, nn.Identity()])
def test_files_of_the_saver_of_timm(tmp_path: Path, ema: bool, names: Any) -> None:
    trained, averaged = kat(), kat()
    with torch.no_grad():
        for parameter in averaged.parameters():
            parameter.fill_(0.25)
    optimizer = torch.optim.SGD(trained.parameters(), lr=0.1)
    saver = CheckpointSaver(
        names(trained), optimizer, args=argparse.Namespace(lr=0.1, model="kat"),
        checkpoint_dir=str(tmp_path),
    )  # fmt: skip
    saver.model_ema = names(averaged)
    saver.save_checkpoint(0, metric=1.0)
    (file,) = tmp_path.glob("checkpoint-0.pth.tar")
    model = kat(**{"activation": "swish"})
    told = take_weights(model, file, ema=ema)
    source = (averaged if ema else trained).state_dict()
    for key, value in model.state_dict().items():
        assert torch.equal(value, source[key]), key
    assert not told.left and not told.unused


def test_positions_patches_channels_and_head_of_another_size() -> None:
    vit = plain(img_size=24, patch_size=4)
    model = create_model("kat", num_classes=7, input_channels=1, **{**OURS, "patch_size": 2})
    told = take_weights(model, vit.state_dict())
    assert told.resized == {
        "pos_embed": ((1, 37, 24), (1, 65, 24)),
        "patch_embed.proj.weight": ((24, 3, 4, 4), (24, 1, 2, 2)),
    }
    assert told.left["head.weight"] == "5x24 there, 7x24 here" and "head.bias" in told.unused
    assert model(images()[:, :1]).shape == (4, 7)
    assert torch.equal(model.pos_embed[:, 0], vit.pos_embed[:, 0])


def test_a_class_token_without_a_position_takes_it_into_itself() -> None:
    vit = plain()
    options = {**OURS, "position": "patches", "feed_forward": "mlp"}
    model = create_model("vit", num_classes=5, input_channels=3, **options).eval()
    told = take_weights(model, vit.state_dict())
    with torch.no_grad():
        assert relative(model(images()), vit(images())) < 1e-5
    assert not told.left and "pos_embed" in told.resized


def test_a_distillation_token_keeps_its_position() -> None:
    source = create_model("vit", num_classes=5, input_channels=3, **OURS, distilled=True)
    model = create_model("vit", num_classes=5, input_channels=3, **OURS)
    told = take_weights(model, source.state_dict())
    assert torch.equal(model.pos_embed, source.pos_embed[:, [0, *range(2, 18)]])
    assert set(told.unused) == {"dist_token", "head_dist.weight", "head_dist.bias"}


def test_files_of_google(tmp_path: Path) -> None:
    vit = plain()
    np.savez(tmp_path / "vit.npz", **google_names(vit))
    model = create_model("vit", num_classes=5, input_channels=3, **OURS).eval()
    told = take_weights(model, tmp_path / "vit.npz")
    assert not told.left
    with torch.no_grad():
        assert relative(model(images()), vit(images())) < 1e-5


def google_names(vit: Any) -> dict[str, np.ndarray]:
    """The layout that timm's loader reads: kernels (in, out), heads apart."""
    state = {key: value.numpy() for key, value in vit.state_dict().items()}
    named = {
        "cls": state["cls_token"],
        "embedding/kernel": state["patch_embed.proj.weight"].transpose(2, 3, 1, 0),
        "embedding/bias": state["patch_embed.proj.bias"],
        "Transformer/posembed_input/pos_embedding": state["pos_embed"],
        "Transformer/encoder_norm/scale": state["norm.weight"],
        "Transformer/encoder_norm/bias": state["norm.bias"],
        "head/kernel": state["head.weight"].T,
        "head/bias": state["head.bias"],
    }
    for i in range(len(vit.blocks)):
        ours, theirs = f"blocks.{i}.", f"Transformer/encoderblock_{i}/"
        attention = theirs + "MultiHeadDotProductAttention_1/"
        for norm, n in (("norm1", 0), ("norm2", 2)):
            named[f"{theirs}LayerNorm_{n}/scale"] = state[f"{ours}{norm}.weight"]
            named[f"{theirs}LayerNorm_{n}/bias"] = state[f"{ours}{norm}.bias"]
        weights, biases = (np.split(state[f"{ours}attn.qkv.{t}"], 3) for t in ("weight", "bias"))
        for name, weight, bias in zip(("query", "key", "value"), weights, biases, strict=True):
            named[f"{attention}{name}/kernel"] = weight.T.reshape(24, 3, 8)
            named[f"{attention}{name}/bias"] = bias.reshape(3, 8)
        named[f"{attention}out/kernel"] = state[f"{ours}attn.proj.weight"].T.reshape(3, 8, 24)
        named[f"{attention}out/bias"] = state[f"{ours}attn.proj.bias"]
        for n in (0, 1):
            named[f"{theirs}MlpBlock_3/Dense_{n}/kernel"] = state[f"{ours}mlp.fc{n + 1}.weight"].T
            named[f"{theirs}MlpBlock_3/Dense_{n}/bias"] = state[f"{ours}mlp.fc{n + 1}.bias"]
    return named


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.pth").write_bytes(b"no weights")
    (tmp_path / "broken.npz").write_bytes(b"no weights")
    save_file({"conv1.weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    for name, words in [
        ("absent.pth", "is no file and no folder; give a run, a file of weights"),
        ("broken.pth", "broken.pth holds no weights that can be read"),
        ("broken.npz", "broken.npz holds no weights that can be read"),
        ("other.safetensors", "no weights of such a transformer: they hold conv1.weight"),
    ]:
        with pytest.raises(ValueError, match=words):
            take_weights(kat(), tmp_path / name)


def test_weights_of_another_width_are_refused_untouched() -> None:
    model = kat()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    for source in (plain(embed_dim=48), kat(width=48)):
        with pytest.raises(ValueError, match=r"width 48, and this one has 24; make it with width="):
            take_weights(model, source.state_dict())
    with pytest.raises(ValueError, match=r"cls_token has shape \(1, 1, 48\) but must have"):
        load_published(model, export_published(kat(width=48)))
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_blocks_and_hidden_channels_of_another_size_are_told() -> None:
    told = take_weights(kat(depth=1), kat().state_dict())
    assert not told.left and told.unused["blocks.1.mlp.act1.numerator"]
    told = take_weights(kat(expansion=2.0), kat().state_dict())
    assert told.left["blocks.1.mlp.fc2.weight"] == "24x96 there, 24x48 here"
    assert len(told.left) == 6


def test_a_file_that_would_run_code_is_refused(tmp_path: Path) -> None:
    class Planted:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "ran",)

    torch.save({"state_dict": {"cls_token": Planted()}}, tmp_path / "planted.pth")
    with pytest.raises(ValueError, match=r"planted\.pth holds no weights that can be read"):
        take_weights(kat(), tmp_path / "planted.pth")
    assert not (tmp_path / "ran").exists()


# ------------------------------------------------------------------------------- other networks
CONV: dict[str, Any] = {"layer_sizes": (4, 4, 8, 8)}


def conv(num_classes: int = 5, channels: int = 3, **given: Any) -> Any:
    torch.manual_seed(num_classes + channels)
    sizes = {"num_classes": num_classes, "input_channels": channels}
    return create_model("simple_conv_kagn", **sizes, **CONV | given)


def described(num_classes: int = 5, channels: int = 3, **given: Any) -> Description:
    options = {**model_options_of("simple_conv_kagn"), **CONV, **given}
    sizes = {"num_classes": num_classes, "input_channels": channels}
    return Description("simple_conv_kagn", options, **sizes, input_shape=(channels, 16, 16),
                       task="classification")  # fmt: skip


def model_options_of(name: str) -> dict[str, Any]:
    return {key: option.default for key, option in model_options(name).items()}


def test_a_folder_gives_its_weights_to_other_classes(tmp_path: Path) -> None:
    source, model = conv(), conv(7)
    drawn = {key: value.clone() for key, value in model.state_dict().items()}
    told = take_weights(model, save_pretrained(source, tmp_path, described()), here=described(7))
    head = {key for key in drawn if key.startswith("head.")}
    assert set(told.left) == head and told.notes == (
        "a new head for 7 classes, where there were 5",
    )
    for key, value in model.state_dict().items():
        assert torch.equal(value, drawn[key] if key in head else source.state_dict()[key])


def test_gray_images_are_worth_three_equal_channels(tmp_path: Path) -> None:
    source, model = conv().eval(), conv(channels=1).eval()
    folder = save_pretrained(source, tmp_path, described())
    told = take_weights(model, folder, here=described(channels=1))
    assert set(told.resized) == {"features.0.base_weight", "features.0.basis_weight"}
    assert "adapted from 3 channels to 1" in told.notes[0]
    gray = images()[:, :1].double()
    with torch.no_grad():  # the sums are of float32
        wanted = source.double()(gray.repeat(1, 3, 1, 1))
        assert relative(model.double()(gray), wanted) < 1e-6
    save_pretrained(model.float(), tmp_path, described(channels=1))
    with pytest.raises(ValueError, match="images of 1 channels, and here are 3: those of 3 can be"):
        take_weights(conv(), tmp_path, here=described())


def test_weights_of_another_architecture_are_refused(tmp_path: Path) -> None:
    wider = {"layer_sizes": (4, 4, 8, 16)}
    model, state = conv(), conv().state_dict()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    said = r"features\.3\.base_weight is 16x8x3x3 there, 8x8x3x3 here; they are of model=simple_"
    with pytest.raises(ValueError, match=said) as caught:
        take_weights(model, save_pretrained(conv(**wider), tmp_path, described(**wider)),
                     here=described())  # fmt: skip
    assert "layer_sizes=[4, 4, 8, 16] (here [4, 4, 8, 8])" in str(caught.value)
    deeper = {**state, "features.4.base_weight": torch.zeros(8, 8, 3, 3)}
    with pytest.raises(
        ValueError, match=r"features\.4\.base_weight is there, and not here; they do"
    ):
        take_weights(model, deeper)
    shallower = {key: value for key, value in state.items() if not key.startswith("features.3")}
    with pytest.raises(ValueError, match=r"features\.3\.base_weight is not there"):
        take_weights(model, shallower)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_a_network_is_asked_for_its_head_where_that_would_help() -> None:
    one, other = (nn.Sequential(nn.Linear(3, 5), nn.Linear(5, n)) for n in (10, 12))
    with pytest.raises(ValueError, match=r"If 1.weight is of the head, .* get_classifier\(\)"):
        take_weights(other, one.state_dict())
    with pytest.raises(ValueError, match=r"that they were trained with$"):
        take_weights(nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 10)), one.state_dict())


def test_names_of_others_are_understood() -> None:
    source, model = conv(), conv(7)
    assert set(take_weights(conv(), export_published(source)).taken) == set(
        source.state_dict()
    ) or (not take_weights(conv(), export_published(source)).left)
    net = timm.create_model("resnet10t", num_classes=3)
    model = create_model("timm", num_classes=4, input_channels=3, architecture="resnet10t")
    told = take_weights(model, net.state_dict())
    assert set(told.left) == {"fc.weight", "fc.bias"} and not set(told.unused) - set(told.left)
    assert torch.equal(model.features.layer1[0].conv1.weight, net.layer1[0].conv1.weight)


def test_maps_of_other_classes_have_a_head_of_their_own() -> None:
    source, model = (create_model("unet", num_classes=n, input_channels=1) for n in (1, 3))
    told = take_weights(model, source.state_dict())
    assert all(key.startswith("head.") for key in told.left) and len(told.left) >= 1
