"""Networks that give logits to every pixel: sizes, outputs, mixers, later blocks, decoders."""

import sys
from typing import Any

import pytest
import segmentation_models_pytorch
import timm
import torch
from torch import Tensor, nn

from conv_kan.interop import export_published, load_published
from models import create_model, published
from models.complexity import count_macs, count_parameters
from models.match import match
from models.rows.smp import DECODERS

TINY: dict[str, dict[str, Any]] = {
    "ukagnet": {"width_scale": 0.125, "depth": 3, "layers": 1},
    "ukagnet_18": {"width_scale": 0.125, "blocks": (1, 1, 1, 1)},
    "ukagnet_50": {"width_scale": 0.125, "blocks": (1, 1, 1, 1)},
    "u2kagnet_small": {"width_scale": 0.25, "depths": (4, 3, 2, 2, 2, 2)},
    "ukan": {"channels": (16, 8, 8)},
}
ENCODER = "tu-reskagnet_18x32p width_scale=0.25"


def tiny(name: str, **options: Any) -> Any:
    torch.manual_seed(0)
    return create_model(
        name, num_classes=2, input_channels=1, **{**TINY.get(name, {}), **options}
    ).eval()


def images(*size: int) -> Tensor:
    return torch.randn(2, 1, *size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", TINY)
def test_images_of_any_size(name: str) -> None:
    model = tiny(name)
    side = model.size_divisor
    with torch.no_grad():
        for size in ((side, 2 * side), (side + 3, 2 * side - 1), (5, 7)):
            assert model(images(*size)).shape == (2, 2, *size)


@pytest.mark.parametrize("name", ["ukagnet", "ukagnet_18", "u2kagnet_small", "ukan"])
@pytest.mark.parametrize("ndim", [1, 3])
def test_signals_and_volumes_of_odd_sizes(name: str, ndim: int) -> None:
    size = (9, 12, 7)[:ndim]
    with torch.no_grad():
        assert tiny(name, ndim=ndim)(images(*size)).shape == (2, 2, *size)


def test_an_instance_norm_needs_two_pixels_everywhere() -> None:
    model = tiny("ukagnet", norm="instance").train()
    assert model(images(5, 5)).shape == (2, 2, 5, 5)
    with pytest.raises(ValueError, match=r"images of 4x5 are too small.*smallest are 5x5"):
        model(images(4, 5))


def test_the_resized_map_is_the_doubled_one_where_sides_divide() -> None:
    """What is published: bilinear, twice, the corners on each other."""
    model, x = tiny("ukagnet").double(), images(8, 16).double()
    first, second, third = model.encoder
    h1 = first(x)
    h2 = second(h1)
    y = third(h2)
    for level, skip in zip(model.decoder, (h2, h1), strict=True):
        up = nn.UpsamplingBilinear2d(scale_factor=2)(y)
        y = nn.Sequential(*level)(torch.cat([up, skip], dim=1))
    torch.testing.assert_close(model.head(y), model(x))


def test_deep_supervision() -> None:
    """All outputs in training, the first of which is that of eval mode."""
    model, x = tiny("u2kagnet_small", norm="none"), images(16, 16)
    with torch.no_grad():
        outputs = model.train()(x)
        assert len(outputs) == 7 and {y.shape for y in outputs} == {(2, 2, 16, 16)}
        single = tiny("u2kagnet_small", norm="none", deep_supervision=False).train()
        assert torch.equal(single(x), outputs[0])
        assert torch.equal(model.eval()(x), outputs[0])
        assert not torch.equal(outputs[0], outputs[1])
        model.reset_classifier(3)
        assert len(model.train()(x)) == 7 and model(x)[3].shape == (2, 3, 16, 16)


def test_blocks_behind_the_first_are_as_told_unless_weights_are_published() -> None:
    with torch.device("meta"):
        blocks = (2, 1, 1, 1)
        own = create_model(
            "ukagnet_18", num_classes=2, input_channels=1, degree=5, dropout=0.5, blocks=blocks
        )
        theirs: Any = published.ukagnet_18(1, 2, degree=5, dropout=0.5)
    for model, degree, dropout, norm in ((own, 5, 0.5, nn.BatchNorm2d), (theirs, 3, 0, None)):
        first, later = model.encoder[0][1].conv1, model.encoder[0][2].conv1
        assert (first.basis.degree, first.dropout) == (5, 0.5)
        assert (later.basis.degree, later.dropout) == (degree, dropout)
        assert norm is None or isinstance(later.norm, norm)
    assert isinstance(later.norm, nn.InstanceNorm2d) and later.norm.weight is None


def test_weights_of_published_blocks_are_refused_where_these_are_others() -> None:
    with pytest.raises(
        ValueError, match=r"norm='instance', affine=False in published.*legacy=True"
    ):
        export_published(tiny("ukagnet_18", scale="none"))
    alike = {"scale": "none", "norm": "instance", "affine": False}
    source, target = (tiny("ukagnet_18", **alike, legacy=legacy) for legacy in (False, True))
    load_published(target, export_published(source))
    with pytest.raises(ValueError, match=r"legacy=true is for weights.*none of form=experts"):
        tiny("ukagnet_18", form="experts", legacy=True)


@pytest.mark.parametrize("form", ["plain", "bottleneck", "experts", "bottleneck_experts"])
@pytest.mark.parametrize("mixer", ["none", "attention", "focal"])
def test_mixers_in_every_form(mixer: str, form: str) -> None:
    chosen = {"attention": {"attention_channels": 4}, "focal": {"focal_level": 1}}.get(mixer, {})
    model = tiny("ukagnet", mixer=mixer, form=form, **chosen).train()
    model(images(12, 12)).square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("name", ["unet", "ukacnet"])
def test_mixers_of_other_kinds(name: str) -> None:
    for mixer in ("attention", "focal"):
        model = tiny(name, **TINY["ukagnet"], mixer=mixer)
        assert model(images(8, 8)).shape == (2, 2, 8, 8)


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("ukagnet", {"focal_level": 3}, "focal_level=3 has no effect with mixer=none.*mixer=focal"),
        (
            "ukagnet",
            {"mixer": "focal", "attention_channels": 3},
            "attention_channels=3 has no effect with mixer=focal.*mixer=attention",
        ),
        ("ukagnet", {"depth": 1}, "depth=1 must be 2 or more"),
        ("ukagnet", {"groups": 3}, "groups=3 must divide the channels.*use one of"),
        ("ukagnet_18", {"base_width": 32}, "base_width=32 has no effect on the blocks of two"),
        ("u2kagnet_small", {"groups": 3}, "groups=3 must divide the channels"),
        ("u2kagnet_small", {"depths": [2] * 5}, "depths=.*must be a list of 6 integers"),
        ("ukan", {"degree": 2}, "degree=2 has no effect with kind=efficient"),
        ("smp", {"decoder": "unett"}, "did you mean 'unet'"),
        ("smp", {"encoder": "tu-resnet19"}, "encoder=tu-resnet19: "),
        ("smp", {"encoder": "resnet19"}, "Wrong encoder name `resnet19`"),
        ("smp", {"encoder": "resnet18 width_scale=1"}, "options are taken by networks of this"),
        ("smp", {"encoder": f"{ENCODER} degre=2"}, "did you mean 'degree'"),
        ("smp", {"encoder": ENCODER, "depth": 4}, "depth=4: .* halves its maps 3 times"),
        ("smp", {"encoder": f"{ENCODER} stem_stride=2"}, r"are reduced \[2, 4, 8, 16\] times"),
        (
            "smp",
            {"encoder": "tu-reskagnet18", "decoder": "deeplabv3plus"},
            "output_stride=16: the maps of reskagnet18 go down to 1/32",
        ),
    ],
)
def test_what_is_refused(name: str, options: dict[str, Any], words: str) -> None:
    with torch.device("meta"), pytest.raises(ValueError, match=words):
        tiny(name, **options)


def test_another_pooling_is_refused() -> None:
    with pytest.raises(ValueError, match=r"global_pool='avg' is not made.*averages no positions"):
        tiny("ukagnet").reset_classifier(3, "avg")


@pytest.mark.parametrize("kind", ["gram", "rbf", "wavelet", "rational"])
def test_ukan_of_layers_of_other_kinds(kind: str) -> None:
    model = tiny("ukan", kind=kind).train()
    model(images(32, 32)).square().mean().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_more_blocks_and_paths_of_ukan() -> None:
    model = tiny("ukan", blocks=2, drop_path=0.3)
    paths = [[m.drop_path.drop_prob for m in model.encoder[i][2:4]] for i in (3, 4)]
    assert paths == [[0.0, pytest.approx(0.1)], [pytest.approx(0.2), pytest.approx(0.3)]]
    assert len(model.decoder[0].after) == 3
    state = export_published(model)
    assert "dblock2.1.layer.fc3.spline_weight" in state and "norm4.bias" in state
    other = tiny("ukan", blocks=2)
    with torch.no_grad():
        other.head.weight.zero_()
    load_published(other, state)
    assert torch.equal(other(images(32, 32)), model(images(32, 32)))


def test_feature_info_of_encoders_is_what_timm_gives() -> None:
    net = timm.create_model("ukagnet_18", features_only=True, in_chans=1, **TINY["ukagnet_18"])
    assert net.feature_info.reduction() == [1, 2, 4, 8]
    assert [y.shape[1] for y in net(images(16, 16))] == net.feature_info.channels()
    assert len(net) == 4, "no decoder"


# ----------------------------------------------------------------- networks of equal size, and macs
@pytest.mark.parametrize(
    ("model", "reference"),
    [
        ("unet", "ukagnet width_scale=0.5"),
        ("unet_18", "ukagnet_18 width_scale=0.5"),
        ("u2net_small", "u2kagnet_small"),
        ("ukan_linear", "ukan width_scale=0.25"),
    ],
)
def test_twins_have_equal_sizes(model: str, reference: str) -> None:
    found = match(model, reference, num_classes=2, input_shape=(1, 32, 32))
    assert abs(found.size / found.reference_size - 1) <= 0.02


def test_multiply_accumulates() -> None:
    """16 -> 32 channels, of which one joins: all convolutions are 3x3 but the last."""
    options = {"width_scale": 1.0, "depth": 2, "layers": 1}
    model = create_model("unet", num_classes=2, input_channels=1, **options)
    assert count_macs(model, (1, 8, 8)) == 9 * (64 * 16 + 16 * 16 * 32 + 64 * 48 * 16) + 64 * 16 * 2
    assert count_parameters(model) == sum(
        (9 * a + 3) * b for a, b in ((1, 16), (16, 32), (48, 16))
    ) + 2 * (16 + 1)


# -------------------------------------------------------------------- segmentation_models_pytorch
def test_residual_networks_are_encoders_by_their_own_call() -> None:
    net = segmentation_models_pytorch.Unet(
        "tu-reskagnet_18x32p",
        encoder_weights=None,
        encoder_depth=3,
        decoder_channels=(16, 8, 4),
        in_channels=1,
        classes=2,
        width_scale=0.25,
    )
    assert net.encoder.out_channels == [2, 4, 8, 16]
    assert net(images(16, 24)).shape == (2, 2, 16, 24)


@pytest.mark.parametrize("decoder", DECODERS)
def test_every_decoder(decoder: str) -> None:
    model = tiny("smp", decoder=decoder, encoder=ENCODER)
    assert model.size_divisor == 8
    with torch.no_grad():
        assert model(images(64, 72)).shape == (2, 2, 64, 72)
        with pytest.raises(ValueError, match=r"65x72: both sides.*divisible by 8.*to 72x72"):
            model(images(65, 72))
        with pytest.raises(ValueError, match=r"(both sides|are too small)"):
            model(images(4, 72))
    assert model.no_weight_decay() and count_macs(model, (1, 64, 64)) > 0


def test_encoders_of_timm_and_of_the_library_of_decoders() -> None:
    for encoder in ("tu-test_resnet", "mobilenet_v2"):
        with torch.device("meta"):
            model = tiny("smp", encoder=encoder, decoder="fpn")
        assert model.size_divisor == 32 and model.encoder.out_channels[0] in (1, 3)


def test_the_library_is_named_where_it_is_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "segmentation_models_pytorch", None)
    with pytest.raises(ValueError, match="pip install segmentation-models-pytorch"):
        tiny("smp")
