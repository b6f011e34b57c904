"""Augmentations that cannot be, refused before any work."""

from __future__ import annotations

import pytest

from experiments.config.augment import AugmentConfig, check_pairs
from experiments.config.compose import check_overrides, load_config
from experiments.config.data import DataConfig
from experiments.config.seeds import SeedsConfig
from experiments.config.trainer import TrainerConfig
from experiments.errors import ConfigError


@pytest.mark.parametrize(
    "options, said",
    [
        ({"policy": "threeaugment"}, "augment.policy='threeaugment' is not known; .*three_augment"),
        ({"crop": "rkrr"}, "augment.crop='rkrr' is not known\nChoose one of: none, simple, keep"),
        ({"interpolation": "lanczos"}, "augment.interpolation='lanczos' .*\n.*bicubic, random"),
        ({"mix_mode": "half"}, "augment.mix_mode='half' is not known\n.*: batch, elem, pair"),
        (
            {"erasing_mode": "noise"},
            "augment.erasing_mode='noise' .*\n.*: mean, const, rand, pixel",
        ),
        ({"policy_name": "cifar"}, "augment.policy_name='cifar': write cifar10, imagenet"),
        ({"policy_name": "original-m5"}, "augment.policy_name='original-m5': .* original-mstd0.5"),
        ({"random_augment": "m9"}, "augment.random_augment='m9': write rand, then"),
        ({"random_augment": "rand-tfoo"}, "write rand, then"),
        ({"random_augment": "rand-p.5"}, "write rand, then"),
        ({"augmix": "augmix-m5-n3"}, "augment.augmix='augmix-m5-n3': .* augmix-m5-w4-d2"),
        ({"augmix": "augmix-d-1"}, "write augmix, then"),
        ({"augmix": "augmix-a0"}, "write augmix, then"),
        ({"augmix": "augmix-a.5"}, "write augmix, then"),
        ({"augmix": "augmix-w0"}, "write augmix, then"),
        (
            {"crop": "simple", "random_resized_crop": 0.1},
            "crop=simple with .*random_resized_crop=0",
        ),
        ({"erasing_count": 2}, "augment.erasing_count=2: .* type augment.erasing_mode=const"),
        ({"erasing_count": 0, "erasing_mode": "const"}, "erasing_count=0: must be 1 to 100"),
        ({"switch_probability": 1.5}, "switch_probability=1.5: must lie in"),
        ({"colour_jitter": -0.1}, "colour_jitter=-0.1: must be 0"),
        ({"crop_area": 0.0}, "crop_area=0.0: must lie in"),
        ({"aspect": [1.2, 0.8]}, r"aspect=\[1.2, 0.8\]: must be \[LEAST, GREATEST\]"),
        ({"aspect": [1.0]}, r"aspect=\[1.0\]: must be \[LEAST, GREATEST\]"),
    ],
)
def test_what_cannot_be_is_refused_in_words(options, said):
    with pytest.raises(ConfigError, match=said):
        AugmentConfig(**options)


@pytest.mark.parametrize(
    "options, said",
    [
        ({"crop_ratio": 1.1}, "data.crop_ratio=1.1: must lie in"),
        ({"crop_ratio": 0.0}, "data.crop_ratio=0.0: must lie in"),
        ({"interpolation": "random"}, "data.interpolation='random' .*\n.*bilinear, bicubic"),
        ({"repeats": 0}, "data.repeats=0: must be 1"),
    ],
)
def test_rules_of_data(options, said):
    with pytest.raises(ConfigError, match=said):
        DataConfig(**options)


def test_rules_of_seeds():
    assert SeedsConfig(init=0, mixup=2**63 - 1).dropout is None
    for value in (-1, 2**63):
        with pytest.raises(ConfigError, match=r"seeds\.shuffle=.*less than 2\^63, or null"):
            SeedsConfig(shuffle=value)


PAIRS = ["augment.mixup=0.8", "augment.mix_mode=pair", "trainer.batch_size=33"]


def test_pairs_need_an_even_number_of_images():
    with pytest.raises(ConfigError, match=r"mix_mode=pair: .* of 33; .* trainer.batch_size=34$"):
        check_overrides("cifar", PAIRS)
    for way in ("augment.mix_mode=batch", "augment.mixup=0", "trainer.overfit_batches=1",
                "augment.mix_probability=0", "trainer.batch_size=34"):  # fmt: skip
        load_config("cifar", [*PAIRS, way])
    augment = AugmentConfig(cutmix=1.0, mix_mode="elem")
    check_pairs(augment, TrainerConfig(batch_size=36, accumulation=3), 2)
    with pytest.raises(ConfigError, match=r"micro-batches of 3; use a multiple of 12, .*=24$"):
        check_pairs(augment, TrainerConfig(batch_size=18, accumulation=3), 2)


@pytest.mark.parametrize("name", ["deit", "deit3", "kat", "augmix"])
def test_named_recipes_are_what_they_are_called(name):
    augment = load_config("imagenet", [f"augment={name}"]).augment
    vits = {"mixup": 0.8, "cutmix": 1.0, "horizontal_flip": True, "random_resized_crop": 0.08}
    pixels = {"erasing": 0.25, "erasing_mode": "pixel", "policy": "random_augment"}
    expected = {
        "deit": {**vits, **pixels, "random_augment": "rand-m9-mstd0.5-inc1"},
        "kat": {**vits, **pixels, "random_augment": "rand-m9-mstd0.5", "interpolation": "random"},
        "deit3": {**vits, "policy": "three_augment", "colour_jitter": 0.3, "erasing": 0.0},
        "augmix": {"policy": "augmix", "augmix": "augmix-m5-w4-d2"},
    }[name]
    assert {key: getattr(augment, key) for key in expected} == expected
