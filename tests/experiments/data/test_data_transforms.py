"""Every option of augment changes something; evaluation changes nothing at random."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from experiments.config.augment import AugmentConfig
from experiments.data.info import ImageInfo
from experiments.data.mixing import build_mix
from experiments.data.seeding import seed_generators
from experiments.data.transforms import build_eval_transform, build_train_transform
from experiments.errors import ConfigError

RGB = ImageInfo(3, 32, (0.4, 0.5, 0.6), (0.2, 0.25, 0.3), 32)
GREY = replace(RGB, channels=1, mean=(0.4,), std=(0.2,))
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
]


def photograph(channels: int = 3, side: int = 32) -> torch.Tensor:
    """A smooth uint8 image with some noise, so that every operation has something to change."""
    ramp = torch.linspace(0, 200, side)
    image = torch.stack(
        [ramp.expand(side, side), ramp.expand(side, side).T, ramp.flip(0).expand(side, side)]
    )[:channels]
    noise = torch.rand(image.shape, generator=torch.Generator().manual_seed(0)) * 40
    return (image + noise).to(torch.uint8)


def views(options: dict, info: ImageInfo, image, count: int = 20) -> list[torch.Tensor]:
    pipeline = build_train_transform(AugmentConfig(**options), info)
    result = []
    for seed in range(count):
        seed_generators(seed)
        result.append(pipeline(image))
    return result


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


@pytest.mark.parametrize(
    ("options", "info", "said"),
    [
        ({"crop_padding": 32}, RGB, r"augment.crop_padding=32: .* at most 31"),
        ({"policy": "random_augment", "random_augment": "m9"}, RGB, r"write rand, then"),
        ({"policy": "random_augment", "random_augment": "rand-tfoo"}, RGB, r"write rand, then"),
        ({"policy": "auto_augment"}, replace(RGB, channels=4), r"1 or 3 channels, these have 4"),
    ],
)
def test_what_cannot_work_is_refused_in_words(options, info, said):
    with pytest.raises(ConfigError, match=said):
        build_train_transform(AugmentConfig(**options), info)


@pytest.mark.parametrize(
    "notation",
    [
        "rand",
        "rand-m10-n5-p1-inc1",
        "rand-m10-n5-p1-inc0",
        "rand-m9-mstd101-n3",
        "rand-m15-mmax20",
        "rand-n8-p1-t3a",
        "rand-n8-p1-t3aw-m10",
        "rand-n8-p1-tweights-m10-inc1-mstd0.5",
    ],
)
@pytest.mark.parametrize("info", [RGB, GREY], ids=["rgb", "grey"])
def test_all_of_timms_operations_run(notation, info):
    options = {"policy": "random_augment", "random_augment": notation}
    several = views(options, info, photograph(info.channels), 30)
    assert all(torch.isfinite(view).all() for view in several)


# --------------------------------------------------------------------------------------- mixing
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    images = torch.arange(8.0)[:, None, None, None].expand(8, 3, 16, 16).clone()
    return images, torch.arange(8) % 4


@pytest.mark.parametrize(
    "options", [{"mixup": 0.8}, {"cutmix": 1.0}, {"mixup": 1.0, "cutmix": 1.0}]
)
def test_mixed_targets_are_the_share_of_each_image(options):
    mix = build_mix(AugmentConfig(**options), 10)
    assert mix is not None
    kinds = set()
    for seed in range(10):
        seed_generators(seed)
        images, targets = mix(*batch())
        assert images.shape == (8, 3, 16, 16) and targets.shape == (8, 10)
        torch.testing.assert_close(targets.sum(1), torch.ones(8))
        # Image i holds the number i and is paired with i - 1: its mean tells the share.
        share = targets[1:, :][torch.arange(7), torch.arange(1, 8) % 4]
        torch.testing.assert_close(images[1:].mean((1, 2, 3)), torch.arange(7.0) + share)
        kinds.add("cutmix" if torch.equal(images, images.round()) else "mixup")
    assert kinds == set(options)


def test_mixing_is_off_by_default_and_by_probability():
    assert build_mix(AugmentConfig(), 10) is None
    assert build_mix(AugmentConfig(mixup=1.0, mix_probability=0.0), 10) is None
    mix = build_mix(AugmentConfig(mixup=1.0, mix_probability=0.5), 10)
    untouched = 0
    for seed in range(30):
        seed_generators(seed)
        images, targets = mix(*batch())
        assert targets.shape == (8, 10)
        untouched += torch.equal(images, batch()[0])
    assert 5 < untouched < 25


@pytest.mark.parametrize("options", [*RANDOM_OPTIONS, {"mixup": 1.0, "cutmix": 1.0}])
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
