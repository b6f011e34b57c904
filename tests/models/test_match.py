"""Networks of equal size: by parameters, by multiply-accumulates, in a run."""

import json
from typing import Any

import pytest

from models import create_model, model_options
from models.complexity import count_macs, count_parameters
from models.match import match

SMALL = "simple_conv_kagn layer_sizes=[4,8,8,16] head=linear"


@pytest.mark.parametrize(
    ("model", "reference", "options"),
    [
        ("simple_conv", SMALL, {}),
        ("simple_conv_svkan", SMALL, {"head": "linear"}),
        ("simple_conv", SMALL, {"groups": 2, "layer_sizes": [8, 8, 8, 64]}),
        ("vgg", "vggkagn width_scale=0.5", {}),
        ("simple_conv_kagn", "vgg", {"head": "linear", "form": "bottleneck"}),
    ],
)
@pytest.mark.parametrize("by", ["parameters", "macs"])
def test_sizes_agree_within_two_percent(
    model: str, reference: str, options: dict[str, Any], by: str
) -> None:
    found = match(model, reference, by=by, input_shape=(1, 32, 32), **options)
    name, *parts = reference.split()
    given = {key: json.loads(text) if text[0] in "[0" else text
             for key, _, text in (part.partition("=") for part in parts)}  # fmt: skip
    sizes = []
    for kind, values in ((model, found.options), (name, given)):
        made = create_model(kind, num_classes=10, input_channels=1, **values)
        macs = by == "macs"
        sizes.append(count_macs(made, (1, 32, 32)) if macs else count_parameters(made))
    assert sizes == [found.size, found.reference_size]
    assert abs(sizes[0] / sizes[1] - 1) <= 0.02
    for key, value in options.items():
        width = model.startswith("simple") and key == "layer_sizes"
        assert width or found.options[key] == value


@pytest.mark.parametrize(("model", "reference", "options"), [
    ("ressvkanet", "reskagnet width_scale=0.5", {}),
    ("densenet", "densekagnet growth_rate=7 num_init_features=14 head=linear", {}),
    ("rdnet", "kagrdnet size=mini", {"size": "mini"}),
    ("kaconvnet_svkan", "kaconvnet width_scale=0.1", {}),
    ("rkan_conv", "rkan", {}),
    ("rkan", "rkan kind=gram", {"kind": "shared_spline"}),
    ("vit", "kat patch_size=7 width=24 depth=1", {"patch_size": 7, "width": 24, "depth": 1}),
])  # fmt: skip
def test_every_family_has_twins(model: str, reference: str, options: dict[str, Any]) -> None:
    common = {
        "blocks": [1, 1, 1, 1] if "res" in model else 1, "block_config": [2, 2],
        "backbone": "test_resnet", "image_size": 28,
    }  # fmt: skip
    small = {key: value for key, value in common.items() if key in model_options(model)}
    given = "".join(f" {key}={json.dumps(value).replace(' ', '')}" for key, value in small.items())
    found = match(model, reference + given, input_shape=(1, 28, 28), **options, **small)
    assert abs(found.size / found.reference_size - 1) <= 0.02


def test_a_model_is_made_at_the_width_that_matches() -> None:
    twin = create_model("simple_conv", num_classes=10, input_channels=3, match=SMALL)
    target = create_model("simple_conv_kagn", num_classes=10, input_channels=3, head="linear",
                          layer_sizes=[4, 8, 8, 16])  # fmt: skip
    assert count_parameters(twin) == pytest.approx(count_parameters(target), rel=0.02)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"reference": "simple_conv_kagm"}, "nearest are simple_conv_kagn"),
        ({"reference": "simple_conv_kagn degree"}, "'degree' is no option=value"),
        ({"reference": "simple_conv_kagn degre=3"}, "did you mean 'degree'"),
        ({"reference": "simple_conv_kagn degree=0"}, "must be 1 or more"),
        ({"reference": "simple_conv_kagn", "degree": 3}, "degree is an option of"),
        ({"reference": "vgg", "layer_sizes": [1] * 4}, "no layer_sizes of simple_conv has"),
        (
            {"model": "rkan_conv", "reference": "vgg", "backbone": "test_resnet"},
            "rkan_conv has not the 579,786 parameters of vgg",
        ),
        ({"model": "kan_deit", "reference": "vgg"}, "kan_deit has not the 579,786 parameters"),
        ({"reference": "simple_conv_moe_kagn_bn", "by": "macs"}, "match parameters"),
    ],
)
def test_what_cannot_be_matched(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError) as caught:
        match(**{"model": "simple_conv", **options})
    assert words in str(caught.value)
