"""Networks survive their folders, and published folders open."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import HfApi
from safetensors.torch import load_file, save_file

from conv_kan.interop import export_published
from models import create_model
from models.description import Description
from models.hub import description_of, from_pretrained, push_to_hub, save_pretrained

OPTIONS: dict[str, Any] = {"width_scale": 0.125, "degree": 2}
SMALL = Description("vggkagn", OPTIONS, 3, 3, (3, 32, 32), "classification", ("a", "b", "c"))
IMAGES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def make(**options: Any) -> torch.nn.Module:
    torch.manual_seed(0)
    return create_model("vggkagn", num_classes=3, input_channels=3, **OPTIONS, **options).eval()


def test_a_network_survives_its_folder(tmp_path: Path) -> None:
    model = make()
    again = from_pretrained(save_pretrained(model, tmp_path / "new" / "folder", SMALL))
    assert again.description == SMALL and not again.training
    assert torch.equal(again(IMAGES), model(IMAGES))
    assert description_of(tmp_path / "new/folder/model.safetensors") == SMALL
    save_file({"a": torch.zeros(1)}, tmp_path / "bare")
    assert description_of(tmp_path / "bare") is None


def test_what_is_uploaded_is_that_folder(tmp_path: Path, monkeypatch: Any) -> None:
    model, made = make(), []

    def upload(self: HfApi, *, repo_id: str, folder_path: Path) -> str:
        again = from_pretrained(folder_path)
        assert torch.equal(again(IMAGES), model(IMAGES))
        made.append((repo_id, sorted(path.name for path in folder_path.iterdir())))
        return "address"

    monkeypatch.setattr(HfApi, "create_repo", lambda self, name, **options: made.append(options))
    monkeypatch.setattr(HfApi, "upload_folder", upload)
    assert push_to_hub(model, "me/kan", SMALL, private=True) == "address"
    assert made == [
        {"private": True, "exist_ok": True},
        ("me/kan", ["config.json", "model.safetensors"]),
    ]


@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_a_published_folder_opens(tmp_path: Path, norm: str) -> None:
    name = "vggkagn_bn" if norm == "batch" else "vggkagn"
    torch.manual_seed(0)
    model = create_model(
        name, num_classes=7, input_channels=3, vgg_type="VGG11v2", degree=3, scale="none",
        width_scale=0.125, norm=norm, affine=True,
    ).eval()  # fmt: skip
    config = {
        "input_channels": 3, "num_classes": 7, "groups": 1, "degree": 3, "dropout": 0.15,
        "l1_decay": 0, "dropout_linear": 0.25, "vgg_type": "VGG11v2", "head_type": "Linear",
        "expected_feature_shape": [1, 1], "width_scale": 0.125, "affine": True,
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    state = export_published(model)
    assert any(key.startswith("features.0.poly_weights") for key in state)
    save_file(state, tmp_path / "model.safetensors")
    again: Any = from_pretrained(tmp_path)
    x = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(again(x), model(x))
    assert again.description.model == name and again.description.preprocessing.resize == 256
    with pytest.raises(ValueError, match="name the network"):
        save_file({"a": load_file(tmp_path / "model.safetensors")["classifier.1.bias"]},
                  tmp_path / "model.safetensors")  # fmt: skip
        from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "holds no network that can be read"),
        ({"config.json": "{"}, "holds no network that can be read"),
        ({"config.json": "{}"}, "nor a published VGG"),
        ({"config.json": json.dumps({**SMALL.to_dict(), "colour": 1})}, "has colour"),
        ({"config.json": json.dumps({**SMALL.to_dict(), "model": "vggkagm"})}, "nearest"),
        ({"config.json": json.dumps({**SMALL.to_dict(), "num_classes": 4})}, "size mismatch"),
    ],
)
def test_what_is_no_network_is_refused(tmp_path: Path, files: dict[str, str], words: str) -> None:
    save_pretrained(make(), tmp_path, SMALL)
    if not files:
        (tmp_path / "model.safetensors").write_bytes(b"\0" * 9)
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=str(tmp_path)) as caught:
        from_pretrained(tmp_path)
    assert words in str(caught.value)


def test_a_source_that_is_absent(monkeypatch: Any) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for source in ("no/such", "no such folder/at all/x"):
        with pytest.raises(ValueError, match="is no folder"):
            from_pretrained(source)


def test_pretrained_weights_are_not_fetched_for_a_network_that_brings_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import timm

    asked: list[bool] = []
    make = timm.create_model

    def spy(*args, pretrained=False, **kwargs):
        asked.append(pretrained)
        return make(*args, pretrained=False, **kwargs)

    monkeypatch.setattr(timm, "create_model", spy)
    options = {"architecture": "test_vit", "pretrained": True, "image_size": 160}
    model = create_model("timm", num_classes=3, input_channels=3, **options)
    described = Description("timm", options, 3, 3, (3, 160, 160), "classification")
    save_pretrained(model, tmp_path, described)
    again = from_pretrained(tmp_path)
    assert asked == [True, False]
    assert all(torch.equal(v, model.state_dict()[k]) for k, v in again.state_dict().items())
