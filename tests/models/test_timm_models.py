"""Our networks by timm's calls, and as sources of maps."""

import copy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import nn

from models import create_model, list_models, timm_hook
from models.features import FeatureNet

ROOT = Path(__file__).parents[2]
SMALL: dict[str, Any] = {"width_scale": 0.125, "blocks": (1, 1, 1, 1)}
IMAGES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
LATER = """
import sys, models
from importlib.util import find_spec
assert "timm" not in sys.modules and find_spec("timm")
import models.features  # and timm with it
import timm
assert timm.list_models("reskagnet_18*") == ["reskagnet_18x32p"]
assert not any(type(finder).__module__ == "models.timm_hook" for finder in sys.meta_path)
"""
OWN = """
import models
def build(num_classes, input_channels, width):
    import torch
    return torch.nn.Linear(input_channels * width, num_classes)
models.register("before", options=[models.Option("width", int, 4, "channels")])(build)
import timm
models.register("after", options=[models.Option("width", int, 4, "channels")])(build)
for name in ("before", "after"):
    assert timm.create_model(name, num_classes=3, in_chans=2, width=5).weight.shape == (3, 10)
"""


@pytest.mark.parametrize("code", [pytest.param(LATER, marks=pytest.mark.slow), OWN])
def test_timm_has_all_networks_when_it_is_imported_later(code: str) -> None:
    """Those of a script among them, registered before and after."""
    command = [sys.executable, "-W", "error::UserWarning", "-c", code]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr


def test_timm_has_all_networks_when_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [name for name in list_models() if not timm.is_model(name)] == []
    assert timm.list_models("*reskagnet_18*") == ["reskagnet_18x32p"]
    assert not set(timm.list_models(pretrained=True)) & set(list_models())
    calls: list[int] = []
    monkeypatch.setattr(timm_hook, "_register", lambda: calls.append(1))
    timm_hook.register_with_timm()
    assert calls


def test_a_failure_to_register_does_not_stop_who_imports_timm(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "models.timm_models", None)
    monkeypatch.delattr("models.timm_models")
    with pytest.warns(UserWarning, match="are not registered with timm"):
        timm_hook.register_with_timm()


def test_arguments_of_timm_are_options_here() -> None:
    model = timm.create_model(
        "reskagnet_18x32p", num_classes=7, in_chans=1, drop_rate=0.5, drop_path_rate=0.0,
        global_pool="avg", degree=2, **SMALL,
    )  # fmt: skip
    assert model.head[0].p == 0.5 and model.features[0][0].basis.degree == 2
    assert model(IMAGES[:, :1]).shape == (2, 7)
    assert model.pretrained_cfg["architecture"] == "reskagnet_18x32p"
    model = timm.create_model("kaconvnet", drop_path_rate=0.2, num_classes=0, width_scale=0.25)
    assert model.features[-1][-1].drop_path.drop_prob == 0.2
    assert isinstance(model.head, nn.Identity)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"pretrained": True},
            "there are no weights of reskagnet_18x32p to fetch.*from_pretrained",
        ),
        ({"drop_path_rate": 0.1}, "reskagnet_18x32p has no option 'drop_path'"),
        ({"global_pool": "max"}, "global_pool='max' is not made for this network"),
        ({"degre": 2}, "did you mean 'degree'"),
        ({"out_indices": (1,)}, "wants features_only=True"),
        ({"features_only": True, "out_indices": (5,)}, "the network has the maps 0 to 3"),
        ({"features_only": True, "out_indices": 5}, "how many from behind: 1 to 4"),
        ({"features_only": True, "out_indices": ()}, r"out_indices=\(\)"),
    ],
)
def test_what_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        timm.create_model("reskagnet_18x32p", **SMALL, **options)


def test_weights_of_ones_own_load_by_timm(tmp_path: Path) -> None:
    model = create_model("reskagnet_18x32p", num_classes=3, input_channels=3, **SMALL).eval()
    torch.save(model.state_dict(), tmp_path / "weights.pth")
    overlay = {"file": str(tmp_path / "weights.pth"), "num_classes": 3}
    again = timm.create_model(
        "reskagnet_18x32p", pretrained=True, pretrained_cfg_overlay=overlay, **SMALL
    ).eval()
    assert torch.equal(again(IMAGES), model(IMAGES))


def test_features() -> None:
    torch.manual_seed(0)
    net = timm.create_model("reskagnet_18x32p", features_only=True, out_indices=(-2, 0), **SMALL)
    maps = net(IMAGES)
    assert net.feature_info.channels() == [1, 4] and net.feature_info.reduction() == [1, 4]
    assert [tuple(m.shape) for m in maps] == [(2, 1, 32, 32), (2, 4, 8, 8)]
    assert len(net) == 4, "parts behind the last map are left out"
    sum(m.square().mean() for m in maps).backward()
    assert all(p.grad is not None for p in net.parameters())
    twin = copy.deepcopy(net.eval())
    assert all(torch.equal(a, b) for a, b in zip(twin(IMAGES), net(IMAGES), strict=True))
    own = create_model(
        "reskagnet_18x32p", input_channels=3, features_only=True, out_indices=2, **SMALL
    )
    assert isinstance(own, FeatureNet) and own.feature_info.channels() == [4, 8]


def test_a_network_without_a_head_needs_no_classes_and_another_one_does() -> None:
    with pytest.raises(ValueError, match="num_classes is missing, or features_only=True"):
        create_model("vggkagn", input_channels=3)


def test_a_network_without_maps_is_refused() -> None:
    model: Any = create_model("timm", num_classes=2, input_channels=3, architecture="test_vit")
    size = model.features.patch_embed.img_size
    with pytest.raises(ValueError, match=r"part of this network gives .*, no map of 64 chan"):
        FeatureNet(model)(torch.zeros(1, 3, *size))
    model.feature_info = []
    with pytest.raises(ValueError, match="tells of no maps"):
        FeatureNet(model)


def test_networks_of_timm_are_timms_own() -> None:
    with pytest.raises(ValueError, match="'vggkagn' is not known to timm"):
        create_model("timm", num_classes=3, input_channels=3, architecture="vggkagn")
