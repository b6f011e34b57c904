"""How images of any shape are brought to their size: at random, and by the rule of evaluation."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
import torch
from pictures import RGB, photograph, views
from timm.data.transforms_factory import transforms_imagenet_train
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from experiments.config.augment import AugmentConfig
from experiments.config.data import DataConfig
from experiments.data import describe_images
from experiments.data.containers import TensorImages
from experiments.data.resizing import random_size
from experiments.data.transforms import build_eval_transform

PLAIN = replace(RGB, mean=(0.0,) * 3, std=(1 / 255,) * 3, native_size=None)
COLUMNS = torch.arange(80, dtype=torch.uint8).expand(3, 32, 80)  # each pixel says its column


def test_a_simple_crop_is_a_square_of_all_of_the_image():
    starts = set()
    for view in views({"crop": "simple"}, PLAIN, COLUMNS, 200):
        start = int(view[0, 0, 0].round())
        torch.testing.assert_close(view.round()[0, 0], torch.arange(start, start + 32.0))
        starts.add(start)
    assert min(starts) <= 1 and max(starts) >= 47 and len(starts) > 40


def test_a_simple_crop_reflects_the_padding():
    left = [int(v[0, 0, 0].round()) for v in views({"crop": "simple", "crop_padding": 4}, PLAIN,
                                                   COLUMNS, 200)]  # fmt: skip
    mirrored = [
        view for view in views({"crop": "simple", "crop_padding": 4}, PLAIN, COLUMNS, 200)
        if view[0, 0, 0] > view[0, 0, 1]
    ]  # fmt: skip
    assert len(set(left)) > 40 and mirrored
    assert all(view[0, 0].round().int().min() == 0 for view in mirrored)


def test_a_shorter_side_is_resized_before_a_simple_crop():
    large = F.resize(COLUMNS, [64, 160])
    widths = [float(v[0, 0, -1] - v[0, 0, 0]) for v in views({"crop": "simple"}, PLAIN, large, 20)]
    assert all(abs(width - 31) < 1.5 for width in widths)


@pytest.mark.parametrize("shape", [(40, 56), (32, 32), (20, 25)])
def test_keeping_the_ratio_is_timms(shape):
    image = F.resize(photograph(), list(shape), antialias=True)
    theirs = transforms_imagenet_train(
        32, train_crop_mode="rkrr", interpolation="bicubic", hflip=0.0, color_jitter=None,
        separate=True,
    )[0]  # fmt: skip
    ours = v2.Compose(random_size(AugmentConfig(crop="keep_ratio", interpolation="bicubic"), RGB))
    for seed in range(20):
        random.seed(seed)
        expected = F.pil_to_tensor(theirs(F.to_pil_image(image)))
        random.seed(seed)
        difference = (ours(image).int() - expected.int()).abs()
        assert difference.max() <= 3  # Pillow and torch round differently


def test_a_random_interpolation_is_one_of_two():
    whole = {"random_resized_crop": 1.0, "aspect": [1.0, 1.0]}
    image = F.resize(photograph(), [48, 48])
    bilinear, bicubic = (
        views({**whole, "interpolation": mode}, RGB, image, 1)[0]
        for mode in ("bilinear", "bicubic")
    )
    several = views({**whole, "interpolation": "random"}, RGB, image, 40)
    counts = [sum(torch.equal(v, one) for v in several) for one in (bilinear, bicubic)]
    assert sum(counts) == 40 and min(counts) > 8


# -------------------------------------------------------------------------------------- evaluation
@pytest.mark.parametrize(
    ("ratio", "native", "resize"),
    [(None, None, 256), (None, 300, 224), (0.875, 300, 256), (0.9, None, 248), (1.0, None, 224)],
)
def test_the_crop_ratio_says_how_much_of_the_shorter_side_is_kept(ratio, native, resize):
    info = replace(RGB, image_size=224, native_size=native, crop_ratio=ratio)
    assert (info.preprocessing.size, info.preprocessing.resize) == (224, resize)


def test_data_options_reach_the_images_that_are_evaluated():
    images = TensorImages(photograph()[None], torch.zeros(1, dtype=torch.int64), ["a"])
    seen = {}
    for options in ({}, {"crop_ratio": 0.5}, {"crop_ratio": 0.5, "interpolation": "bicubic"}):
        info = describe_images(images, DataConfig(mean=[0.0] * 3, std=[1.0] * 3, **options))
        seen[str(options)] = build_eval_transform(info)(photograph())
    whole, half, bicubic = seen.values()
    expected = F.resize(photograph()[:, 8:24, 8:24], [32, 32]) / 255
    torch.testing.assert_close(half[:, 4:-4, 4:-4], expected[:, 4:-4, 4:-4], atol=0.01, rtol=0)
    torch.testing.assert_close(whole, photograph() / 255)
    assert not torch.equal(half, bicubic)
    torch.testing.assert_close(half, bicubic, atol=0.2, rtol=0)
