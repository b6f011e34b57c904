"""Sizes with two sides, and the rules by which images of another shape are brought to them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2 import functional as F

from experiments.app import run
from experiments.config.compose import load_config
from experiments.data import resizing
from experiments.data.info import ImageInfo
from experiments.data.mask_transforms import build_pair_transform
from experiments.data.transforms import build_train_transform
from experiments.errors import UserError
from models.description import Description, Preprocessing

INFO = ImageInfo(3, (24, 16), (0.4, 0.5, 0.6), (0.2, 0.2, 0.2), None)
RAMP = torch.arange(3 * 40 * 60, dtype=torch.float64).reshape(3, 40, 60).div(7200)
IMAGE = (RAMP * 255).round().to(torch.uint8)


def info(**changes) -> ImageInfo:
    return ImageInfo(**{**INFO.__dict__, **changes})


def fit(of: ImageInfo) -> torch.nn.Module:
    return resizing.fit(of.preprocessing)


def resized(height: int, width: int) -> torch.Tensor:
    return F.resize(IMAGE, [height, width])


def test_crop_covers_and_takes_the_centre() -> None:
    # 24 x 16 / 0.875 is 27 x 18; 40 x 60 covers it at 27 x 40 (round(60 * 27 / 40))
    expected = F.center_crop(resized(27, 40), [24, 16])
    assert torch.equal(fit(INFO)(IMAGE), expected)
    exact = F.center_crop(resized(24, 36), [24, 16])
    assert torch.equal(fit(info(crop_ratio=1.0))(IMAGE), exact)


def test_pad_keeps_all_and_fills_with_the_mean() -> None:
    got = fit(info(fit="pad"))(IMAGE)
    inner = resized(round(40 * 16 / 60), 16)  # 11 x 16
    assert got.shape == (3, 24, 16) and torch.equal(got[:, 6:17], inner)
    fill = torch.tensor([102, 128, 153], dtype=torch.uint8)[:, None, None].expand(3, 6, 16)
    assert torch.equal(got[:, :6], fill) and torch.equal(got[:, 17:], fill[:, :1].expand(3, 7, 16))
    floats = fit(info(fit="pad"))(IMAGE.float() / 255)
    assert floats[0, 0, 0] == pytest.approx(0.4)


def test_squash_changes_the_shape() -> None:
    assert torch.equal(fit(info(fit="squash"))(IMAGE), resized(24, 16))
    assert torch.equal(fit(info(fit="squash", image_size=20))(IMAGE), resized(20, 20))


@pytest.mark.parametrize("rule", ["crop", "pad", "squash"])
def test_an_image_of_the_size_stays_as_it_is(rule: str) -> None:
    image = IMAGE[:, :24, :16]
    same = info(fit=rule, native_size=(24, 16))
    assert torch.equal(fit(same)(image), image)
    batch = torch.stack([IMAGE, IMAGE])
    assert torch.equal(fit(info(fit=rule))(batch)[1], fit(info(fit=rule))(IMAGE))


def test_square_rules_are_what_they_were() -> None:
    square = info(image_size=16)
    assert square.preprocessing == Preprocessing(16, 18, "bilinear", INFO.mean, INFO.std)
    expected = F.center_crop(F.resize(IMAGE, 18), [16, 16])
    assert torch.equal(fit(square)(IMAGE), expected)


# -------------------------------------------------------------------------------------- training
def augment(**options):
    values = [f"augment.{key}={value}" for key, value in options.items()]
    return load_config("cifar", ["augment=none", *values]).augment


@pytest.mark.parametrize(
    "options",
    [{}, {"crop_padding": 3}, {"horizontal_flip": "true", "rotation": 20},
     {"random_resized_crop": 0.5}, {"policy": "random_augment"}, {"erasing": 1.0}],
)  # fmt: skip
def test_training_keeps_the_size(options) -> None:
    assert build_train_transform(augment(**options), INFO)(IMAGE).shape == (3, 24, 16)


@pytest.mark.parametrize(("options", "words"), [
    ({"rot90": "true"}, "24 x 16.*augment.rot90=false"),
    ({"crop": "simple"}, "augment.random_resized_crop"),
    ({"crop": "keep_ratio"}, "augment.random_resized_crop"),
    ({"crop_padding": 16}, "use at most 15"),
])  # fmt: skip
def test_changes_that_need_squares_are_refused(options, words: str) -> None:
    with pytest.raises(UserError, match=words):
        build_train_transform(augment(**options), INFO)


def test_masks_go_with_their_images() -> None:
    masks = info(targets="mask", class_names=("a", "b"))
    mask = (IMAGE[0] > 100).to(torch.uint8)
    for options in ({}, {"crop_padding": 3, "rotation": 30, "horizontal_flip": "true"}):
        pair = build_pair_transform(masks, augment(**options))(IMAGE, mask)
        assert pair[0].shape == (3, 24, 16) and pair[1].shape == (24, 16)
    with pytest.raises(UserError, match=r"augment.rotation=0"):
        build_pair_transform(info(image_size=(60, 16), targets="mask"), augment(rotation=30))


# ----------------------------------------------------------------------------------- description
def test_a_description_carries_the_rule_and_reads_older_ones() -> None:
    for rule in ("crop", "pad", "squash"):
        given = info(fit=rule).preprocessing
        whole = Description("unet", {}, 2, 3, (3, 24, 16), "classification", preprocessing=given)
        again = Description.from_dict(json.loads(json.dumps(whole.to_dict())))
        assert again.preprocessing == given and again.preprocessing.sides == (24, 16)
    older = {"size": 8, "resize": 9, "interpolation": "bilinear", "mean": [0.5], "std": [0.1]}
    square = Description("unet", {}, 2, 1, (1, 8, 8), "x", preprocessing=Preprocessing(**older))
    assert square.to_dict()["preprocessing"] == older
    wrong = {**whole.to_dict(), "preprocessing": {**older, "size": [8, 8, 8]}}
    with pytest.raises(ValueError, match="size="):
        Description.from_dict(wrong)


# ------------------------------------------------------------------------------------------- runs
TINY = [
    "data=digits", "model=simple_conv", "model.layer_sizes=[4,4,8,8]", "augment=none",
    "trainer.batch_size=8", "trainer.epochs=1", "trainer.limit_steps=1", "trainer.progress=false",
    "name=run",
]  # fmt: skip


def pictures(cfg) -> tuple:
    draw = np.random.default_rng(0)
    one = [
        (Image.fromarray(draw.integers(0, 256, (20 + i, 30, 3), dtype=np.uint8)), i % 2)
        for i in range(12)
    ]
    return one, one, one


@pytest.mark.parametrize("rule", ["crop", "pad", "squash"])
def test_a_network_learns_from_rectangles(tmp_path: Path, rule: str) -> None:
    options = ["data.image_size=[24,16]", f"data.resize={rule}", f"runs_dir={tmp_path}"]
    result = run(load_config("cifar", [*TINY, *options]), pictures)
    manifest = json.loads((result.run_dir / "manifest.json").read_text())
    assert manifest["input_shape"] == [3, 24, 16]
    described = Description.from_dict(manifest["description"]).preprocessing
    assert described.sides == (24, 16)
    assert (described.pad, described.stretch) == (rule == "pad", rule == "squash")


@pytest.mark.parametrize(("options", "words"), [
    (["data.image_size=[24]", "data.resize=tile"], "data.resize='tile'"),
    (["data.image_size=[24,16,3]"], r"must be a side, \[HEIGHT, WIDTH\]"),
    (["data.image_size=[24,0]"], "of 1 or more each"),
    (["data.image_size=0"], "of 1 or more each"),
    (["data.image_size=[24,16]", "data.resize=pad", "data.crop_ratio=0.9"], "cuts nothing off"),
    (["data.image_size=[32,16]", "model=vit", "~model.layer_sizes", "model.image_size=32",
      "model.patch_size=8", "model.width=16", "model.heads=2", "model.depth=1"],
     "cannot be trained on inputs of 32 x 16.*\n.*data.image_size=32, which works"),
    (["data=canvas", "data.image_size=[64,48]"], "squares or cubes alone.*data.image_size=64"),
])  # fmt: skip
def test_what_cannot_be_is_told_in_a_sentence(tmp_path: Path, options, words: str) -> None:
    base = [o for o in TINY if not any(o.split("=")[0] == p.split("=")[0] for p in options)]
    if "~model.layer_sizes" in options:
        base = [o for o in base if not o.startswith("model.layer_sizes")]
        options = [o for o in options if not o.startswith("~")]
    with pytest.raises(UserError, match=words):
        config = load_config("cifar", [*base, *options, f"runs_dir={tmp_path}"])
        run(config, *([] if config.data.name == "canvas" else [pictures]))
