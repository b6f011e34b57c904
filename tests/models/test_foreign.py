"""Networks of timm and torchvision, and KAN branches beside their stages: what is refused."""

from typing import Any

import pytest
import torch
from torch import nn

from models import create_model, foreign

SMALL = {
    "timm": {"architecture": "test_resnet"},
    "torchvision": {"architecture": "shufflenet_v2_x0_5"},
    "rkan": {"backbone": "test_resnet", "stages": (4,)},
}


def make(name: str, **options: Any) -> Any:
    return create_model(name, num_classes=3, input_channels=3, **{**SMALL[name], **options})


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        (
            "timm",
            {"architecture": "resnet35"},
            "'resnet35' is not known to timm; the nearest are r",
        ),
        ("timm", {"architecture": "test_resnet.a"}, "the nearest are test_resnet.r160_in1k"),
        (
            "torchvision",
            {"architecture": "resnet35"},
            "not known to torchvision; the nearest are r",
        ),
        ("torchvision", {"architecture": "squeezenet1_0"}, "does not end in a linear layer"),
        ("timm", {"image_size": 32}, "test_resnet of timm does not take img_size"),
        ("timm", {"head_sizes": (4,)}, "head_sizes=.* has no effect with head=linear"),
        (
            "timm",
            {"head": "kan", "head_grid_size": 4},
            "head_grid_size=4 has no effect with head_k",
        ),
        ("rkan", {"backbone": "resnet35"}, "^rkan: 'resnet35' is not known to timm; the nearest"),
        (
            "rkan",
            {"backbone": "test_vit"},
            "'test_vit' has no stages of maps.*for example resnet34",
        ),
        ("rkan", {"stages": (9,)}, r"test_resnet has no stage 9; it has 1 \(conv1\), 2 \(layer1.0"),
        ("rkan", {"stages": (0,)}, "must be 1 or more"),
        ("rkan", {"kind": "bspline", "degree": 2}, "degree=2 has no effect with kind=bspline"),
        ("rkan", {"head_degree": 2}, "head_degree=2 has no effect with head=linear"),
    ],
)
def test_what_is_refused(name: str, options: dict[str, Any], words: str) -> None:
    with torch.device("meta"), pytest.raises(ValueError, match=words):
        make(name, **options)


@pytest.mark.parametrize("name", SMALL)
def test_weights_without_a_net_to_fetch_them_from(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(*_: Any, **__: Any) -> nn.Module:
        raise OSError("no route to host")

    monkeypatch.setattr(foreign.timm, "create_model", offline)
    monkeypatch.setattr(foreign.torchvision.models, "get_model", offline)
    words = "pretrained=true: weights of .* could not be loaded: no route to host; type pretrained="
    with pytest.raises(ValueError, match=words):
        make(name, pretrained=True)
    with pytest.raises(OSError, match=r"^no route to host$"):  # no weights were asked for
        make(name)


def test_no_weights_are_fetched_for_a_network_without_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[bool] = []
    create = foreign.timm.create_model

    def watched(*names: str, pretrained: bool, **options: Any) -> nn.Module:
        asked.append(pretrained)
        return create(*names, **options)

    monkeypatch.setattr(foreign.timm, "create_model", watched)
    with torch.device("meta"):
        make("timm", pretrained=True)
    make("timm", pretrained=True)
    assert asked == [False, True]


@pytest.mark.parametrize("name", SMALL)
def test_the_classifier_of_the_library_stays_until_another_is_made(name: str) -> None:
    """A linear head is the network's own, as it was drawn; a new one is a linear layer too."""
    model = make(name)
    assert isinstance(model.head[1], nn.Linear) and model.head[1].out_features == 3
    model.eval().double().reset_classifier(7)
    assert model.head[1].weight.dtype == torch.float64 and not model.head.training
    x = torch.zeros(1, 3, 32, 32, dtype=torch.float64)
    assert model(x).shape == (1, 7)
