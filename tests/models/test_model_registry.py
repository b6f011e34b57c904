"""Names, options and the errors that a wrong one gives."""

from functools import partial
from typing import Any

import pytest
from torch import nn

from models import Option, check_options, create_model, list_models, model_options, register
from models.registry import _MODELS
from models.rows.published import OPTIONS as PUBLISHED_OPTIONS

create = partial(create_model, num_classes=10, input_channels=3)
KAGN, KAN = "simple_conv_kagn", "simple_conv_kan"


def test_lists_by_pattern() -> None:
    assert list_models("vggkan") == ["vggkan"]
    vgg = list_models("vgg*")
    assert {"vgg", "vggkacn", "vggkagn", "vggkaln", "vggkan"} <= set(vgg) < set(list_models())
    assert vgg == sorted(name for name in list_models() if name.startswith("vgg"))


def test_options_say_type_default_and_help() -> None:
    option = model_options(KAN)["grid_range"]
    assert (option.type, option.default) == (tuple[float, float], (-1.0, 1.0))
    assert option.help


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("simple_conv_kagm", {}, ["unknown model 'simple_conv_kagm'", "simple_conv_kagn"]),
        ("SIMPLE_CONV", {}, ["unknown model 'SIMPLE_CONV'; the nearest are simple_conv, simple"]),
        (
            KAGN,
            {"degre": 4},
            ["no option 'degre'; did you mean 'degree'? Others are ndim, layer_sizes"],
        ),
        (
            KAGN,
            {"grid_size": 4},
            [
                "grid_size is an option of bspline, rbf and shared_spline models",
                "(gram) has degree",
            ],
        ),
        ("simple_conv", {"degree": 4}, ["degree is an option of", "simple_conv (no basis)"]),
        (KAGN, {"vgg_type": "VGG11"}, ["no option 'vgg_type'", "belongs to vgg"]),
        (KAGN, {"l1_penalty": 1e-5}, ["no option 'l1_penalty'; ", "run: penalty.l1_decay"]),
        ("vggkagn", {"l1_decay": 0.0}, ["no option 'l1_decay'; ", "run: penalty.l1_decay"]),
        ("vggkagn", {"head_type": "KAN"}, ["no option 'head_type'; it is head here: linear, vgg"]),
        (KAGN, {"degree": True}, ["degree=True must be an integer, not true or false"]),
        (KAGN, {"degree": "3"}, ["degree='3' must be an integer, not text"]),
        (KAGN, {"degree": 3.0}, ["degree=3.0 must be an integer, not a decimal number"]),
        (KAGN, {"degree": 0}, ["degree=0 must be 1 or more"]),
        (KAGN, {"affine": 1}, ["affine=1 must be true or false"]),
        (KAGN, {"dropout": -0.1}, ["dropout=-0.1 must be 0 or more"]),
        (KAGN, {"dropout": 1}, ["dropout=1 must be less than 1"]),
        (KAGN, {"dropout": float("nan")}, ["dropout=nan must be a number, and a finite one"]),
        (
            KAGN,
            {"norm": "bacth"},
            ["did you mean 'batch'? Others are instance, group, layer, none"],
        ),
        (KAGN, {"layer_sizes": [8, 8]}, ["[8, 8] must be a list of 4 integers, not of 2"]),
        (KAGN, {"layer_sizes": []}, ["layer_sizes=[] must be a list of 4 integers, not of none"]),
        (KAGN, {"layer_sizes": [8, 8, 8, "8"]}, ["of 4 integers, but element 4 is '8'"]),
        (KAGN, {"layer_sizes": [[8], 8, 8, 8]}, ["of 4 integers, but element 1 is [8]"]),
        (KAGN, {"layer_sizes": 8}, ["layer_sizes=8 must be a list of 4 integers, not an integer"]),
        (KAGN, {"layer_sizes": [8, 8, 0, 8]}, ["layer_sizes=[8, 8, 0, 8] must be 1 or more"]),
        (KAGN, {"groups": 3}, ["groups=3", "the layer 32 -> 64", "[1, 2, 4, 8, 16, 32]"]),
        (KAN, {"grid_range": [1, -1]}, ["grid_range", "two increasing numbers"]),
        ("vgg", {"vgg_type": "vgg13"}, ["vgg_type='vgg13' is not known", "mean 'VGG13'?"]),
        ("vgg", {"head": "kan"}, ["head='kan' is not known", "linear, vgg, matryoshka"]),
        ("vgg", {"groups": 5}, ["groups=5", "the layer 16 -> 32", "[1, 2, 4, 8, 16]"]),
    ],
)
def test_wrong_options(name: str, options: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ValueError) as caught:
        create(name, **options)
    message = str(caught.value)
    assert [word for word in words if word not in message] == [], message


@pytest.mark.parametrize("sizes", [{"num_classes": 0}, {"input_channels": True}])
def test_wrong_sizes(sizes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(sizes))):
        create_model(KAGN, **{"num_classes": 10, "input_channels": 3, **sizes})


def test_an_int_serves_as_a_float_and_a_list_as_a_tuple() -> None:
    model: Any = create(KAN, layer_sizes=[4, 4, 4, 4], dropout=0, grid_range=[-2, 2])
    assert model.features[0].basis.low == -2.0


@pytest.fixture
def clean_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is gone after it."""
    monkeypatch.setattr("models.registry._MODELS", dict(_MODELS))


@pytest.mark.usefixtures("clean_registry")
def test_a_builder_of_ones_own_becomes_a_model() -> None:
    @register("MyNet", options=[Option("width", int, 4, "channels", minimum=1)])
    def build(num_classes: int, input_channels: int, width: int) -> nn.Module:
        if width == 13:
            raise ValueError("width=13 brings bad luck")
        return nn.Linear(input_channels * width, num_classes)

    assert "MyNet" in list_models() and build(2, 3, 4).weight.shape == (2, 12)
    assert check_options("MyNet", {}) == {"width": 4}
    model: Any = create("MyNet", width=5)
    assert model.weight.shape == (10, 15)
    with pytest.raises(ValueError, match=r"^MyNet: width=13 brings bad luck"):
        create("MyNet", width=13)
    with pytest.raises(ValueError, match="unknown model 'mynet'; the nearest are MyNet"):
        create("mynet")


@pytest.mark.usefixtures("clean_registry")
def test_registering_a_name_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="registered already"):
        register(KAGN, options=())(nn.Identity)
    option = Option("depth", int, 1, "layers")
    with pytest.raises(ValueError, match="two options have the same name"):
        register("other", options=(option, option))(nn.Identity)
    assert "other" not in list_models()


@pytest.mark.parametrize(
    ("kind", "value", "words"),
    [
        (tuple[int, ...], [], "a list of integers, not of none"),
        (tuple[str, ...], [1], "a list of strings, but element 1 is 1"),
        (tuple[float, float], [0, float("inf")], "a list of 2 numbers, but element 2 is inf"),
        (tuple[int, int] | None, 3, "a list of 2 integers or null, not an integer"),
        (bool | None, "yes", "true or false or null, not text"),
    ],
)
def test_values_of_another_type(kind: Any, value: Any, words: str) -> None:
    with pytest.raises(ValueError) as caught:
        Option("size", kind, None, "").check(value)
    assert str(caught.value) == f"size={value!r} must be {words}"


def test_published_options_are_nobodys_here() -> None:
    """Else what is said of them is never seen."""
    own = {key for name in list_models() for key in model_options(name)}
    assert not own & set(PUBLISHED_OPTIONS)
