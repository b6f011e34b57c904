"""Every option of augment changes something; evaluation changes nothing at random."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from pictures import GREY, RGB, photograph, views
from PIL import Image

from experiments.config.augment import AugmentConfig
from experiments.data.mixing import build_mix
from experiments.data.seeding import seed_generators
from experiments.data.transforms import build_eval_transform, build_train_transform
from experiments.errors import ConfigError

RANDOM_OPTIONS = [
    {"crop_padding": 4},
    {"horizontal_flip": True},
    {"rotation": 20.0},
    {"policy": "auto_augment"},
    {"policy": "auto_augment", "policy_name": "imagenet"},
    {"policy": "auto_augment", "policy_name": "svhn"},
    {"policy": "random_augment"},
    {"random_resized_crop": 0.3},
    {"erasing": 0.7},
    {"erasing": 0.7, "erasing_mode": "const", "erasing_count": 3},
    {"erasing": 0.7, "erasing_mode": "rand"},
    {"erasing": 0.7, "erasing_mode": "pixel"},
    {"policy": "auto_augment", "policy_name": "originalr"},
    {"policy": "auto_augment", "policy_name": "v0-mstd0.5"},
    {"policy": "augmix"},
    {"policy": "three_augment"},
    {"colour_jitter": 0.4},
    {"crop": "simple", "crop_padding": 4},
    {"crop": "keep_ratio", "crop_area": 0.5},
]


@pytest.mark.parametrize("info", [RGB, GREY], ids=["rgb", "grey"])
@pytest.mark.parametrize("options", RANDOM_OPTIONS, ids=lambda o: "-".join(map(str, o.values())))
@pytest.mark.parametrize("kind", ["uint8", "float", "pil"])
def test_every_option_changes_images_and_keeps_their_shape(info, options, kind):
    stored = photograph(info.channels)
    image = {
        "uint8": stored,
        "float": stored / 255,
        "pil": Image.fromarray(stored.permute(1, 2, 0).squeeze().numpy()),
    }[kind]
    plain = build_eval_transform(info)(image)
    pipeline = build_train_transform(AugmentConfig(**options), info)
    assert pipeline.random
    several = views(options, info, image)
    assert all(v.shape == plain.shape and v.dtype == torch.float32 for v in several)
    changed = [not torch.allclose(v, plain, atol=0.05) for v in several]
    assert sum(changed) >= 5  # each by chance, none never
    again = views(options, info, image)
    assert all(torch.equal(a, b) for a, b in zip(several, again, strict=True))


def test_the_values_of_options_matter():
    image = photograph()
    pairs = [
        ({"crop_padding": 2}, {"crop_padding": 6}),
        ({"rotation": 5.0}, {"rotation": 50.0}),
        ({"random_resized_crop": 0.1}, {"random_resized_crop": 0.9}),
        ({"erasing": 0.1}, {"erasing": 0.9}),
        ({"policy": "auto_augment"}, {"policy": "auto_augment", "policy_name": "svhn"}),
        (
            {"policy": "random_augment", "random_augment": "rand-m1-inc1"},
            {"policy": "random_augment", "random_augment": "rand-m9-n4-inc1"},
        ),
        ({"policy": "augmix"}, {"policy": "augmix", "augmix": "augmix-m9-w1-d1"}),
        ({"policy": "random_augment"}, {"policy": "random_augment", "interpolation": "bicubic"}),
        (
            {"policy": "auto_augment", "policy_name": "svhn"},
            {"policy": "auto_augment", "policy_name": "svhn", "interpolation": "bicubic"},
        ),
        ({"colour_jitter": 0.1}, {"colour_jitter": 0.9}),
        ({"crop": "simple", "crop_padding": 2}, {"crop": "simple", "crop_padding": 6}),
        ({"crop": "keep_ratio"}, {"crop": "keep_ratio", "crop_area": 0.2}),
        ({"crop": "keep_ratio"}, {"crop": "keep_ratio", "aspect": [0.5, 2.0]}),
        ({"crop": "keep_ratio"}, {"crop": "keep_ratio", "interpolation": "bicubic"}),
        ({"random_resized_crop": 0.1}, {"random_resized_crop": 0.1, "aspect": [1.0, 1.0]}),
        ({"random_resized_crop": 0.1}, {"random_resized_crop": 0.1, "interpolation": "bicubic"}),
    ]
    for first, second in pairs:
        left, right = views(first, RGB, image), views(second, RGB, image)
        assert any(not torch.equal(a, b) for a, b in zip(left, right, strict=True)), (first, second)


def test_with_everything_off_training_sees_what_evaluation_sees():
    for info in (RGB, replace(RGB, native_size=None, image_size=20)):
        pipeline = build_train_transform(AugmentConfig(), info)
        assert not pipeline.random
        image = photograph()
        assert torch.equal(pipeline(image), build_eval_transform(info)(image))


def test_evaluation_is_the_normalised_image():
    image = photograph()
    mean, std = torch.tensor(RGB.mean)[:, None, None], torch.tensor(RGB.std)[:, None, None]
    expected = (image / 255 - mean) / std
    torch.testing.assert_close(build_eval_transform(RGB)(image), expected)
    batch = build_eval_transform(RGB)(image.expand(2, -1, -1, -1))
    assert torch.equal(batch[1], build_eval_transform(RGB)(image))


def test_stored_squares_are_resized_and_others_cropped():
    half = build_eval_transform(replace(RGB, image_size=16))(photograph())
    assert half.shape == (3, 16, 16)
    free = replace(RGB, native_size=None, image_size=28, mean=(0.0,) * 3, std=(1.0,) * 3)
    wide = torch.zeros(3, 32, 64, dtype=torch.uint8)
    wide[:, 2:30, 18:46] = 255  # the centre that 28 / 0.875 = 32 leaves
    assert build_eval_transform(free)(wide).min() == 1.0
    odd = build_eval_transform(RGB)(torch.zeros(3, 40, 50, dtype=torch.uint8))
    assert odd.shape == (3, 32, 32)  # an image unlike the sampled ones


def test_padding_is_by_reflection():
    image = torch.full((3, 32, 32), 128, dtype=torch.uint8)
    assert all(v.unique().numel() <= 3 for v in views({"crop_padding": 8}, RGB, image))


def test_erased_pixels_are_the_mean():
    erased = views({"erasing": 1.0}, RGB, photograph())[0]
    assert (erased == 0).all(0).float().mean() > 0.02


def erased_by(mode: str, count: int = 1) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Images and the masks of what was erased, one rectangle or more, in timm's modes."""
    plain = build_eval_transform(RGB)(photograph())
    options = {"erasing": 1.0, "erasing_mode": mode, "erasing_count": count}
    several = views(options, RGB, photograph(), 60)
    return [(view, (view != plain).any(0)) for view in several]


def is_rectangle(mask: torch.Tensor) -> bool:
    return int(mask.any(0).sum() * mask.any(1).sum()) == int(mask.sum())


def test_normalised_images_are_erased_by_noise_a_colour_or_zeros():
    for view, mask in erased_by("const"):
        assert (view[:, mask] == 0).all() and is_rectangle(mask)
    for view, mask in erased_by("rand"):
        colours = view[:, mask].unique(dim=1)
        assert colours.shape[1] == 1 and colours.unique().numel() == 3
    noise = torch.cat([view[:, mask].flatten() for view, mask in erased_by("pixel")])
    assert abs(noise.mean()) < 0.03 and abs(noise.std() - 1) < 0.03 and len(noise) > 10_000
    assert abs(noise).max() > 3  # not cut to what pixels can be


def test_several_rectangles_are_erased_where_asked_for():
    assert not all(is_rectangle(mask) for _, mask in erased_by("const", 4))
    area = torch.stack([mask for _, mask in erased_by("const", 4)]).float().mean()
    assert 0.05 < area < 1 / 3  # they share the area of one


@pytest.mark.parametrize(
    ("options", "info", "said"),
    [
        ({"crop_padding": 32}, RGB, r"augment.crop_padding=32: .* at most 31"),
        ({"crop": "simple", "crop_padding": 32}, RGB, r"augment.crop_padding=32: .* at most 31"),
        ({"policy": "auto_augment"}, replace(RGB, channels=4), r"1 or 3 channels, these have 4"),
        ({"policy": "augmix"}, replace(RGB, deep=True), r"policy='augmix': .* 8 bits only"),
        ({"colour_jitter": 0.4}, replace(RGB, channels=2), r"jitter=0.4 needs .*; use .*jitter=0"),
    ],
)
def test_what_cannot_work_is_refused_in_words(options, info, said):
    with pytest.raises(ConfigError, match=said):
        build_train_transform(AugmentConfig(**options), info)


@pytest.mark.parametrize(
    "options", [*RANDOM_OPTIONS, {"mixup": 1.0, "cutmix": 1.0}, {"mixup": 1.0, "mix_mode": "elem"}]
)
def test_pipelines_reach_workers_that_are_not_forked(options):
    cfg = AugmentConfig(**options)
    pipeline, mix = pickle.loads(
        pickle.dumps((build_train_transform(cfg, RGB), build_mix(cfg, 10)))
    )
    seed_generators(3)
    result = pipeline(photograph())
    assert torch.equal(result, views(options, RGB, photograph(), 4)[3])
    assert (mix is None) == ("mixup" not in options)
    assert np.isfinite(result.numpy()).all()
