"""Policies are timm's, as its own command line builds them."""

from __future__ import annotations

import pytest
import torch
from pictures import GREY, RGB, photograph, views
from timm.data.transforms_factory import transforms_imagenet_train
from torchvision.transforms.v2 import functional as F

from experiments.config.augment import AugmentConfig
from experiments.data.policies import build_policy
from experiments.data.seeding import seed_generators

SAME = {
    "rand-m9-mstd0.5": {"policy": "random_augment", "random_augment": "rand-m9-mstd0.5"},
    "augmix-m5-w4-d2": {"policy": "augmix", "augmix": "augmix-m5-w4-d2"},
    "augmix-m3-b1-a0.5-mstd1": {"policy": "augmix", "augmix": "augmix-m3-b1-a0.5-mstd1"},
    "original": {"policy": "auto_augment", "policy_name": "original"},
    "originalr-mstd0.5": {"policy": "auto_augment", "policy_name": "originalr-mstd0.5"},
    "v0": {"policy": "auto_augment", "policy_name": "v0"},
    "v0r": {"policy": "auto_augment", "policy_name": "v0r"},
    "3a": {"policy": "three_augment"},
}


@pytest.mark.parametrize("interpolation", ["random", "bicubic"])
@pytest.mark.parametrize("notation", SAME)
def test_policies_do_what_timms_own_recipe_does(notation, interpolation):
    stages = transforms_imagenet_train(
        32, auto_augment=notation, interpolation=interpolation, mean=RGB.mean, color_jitter=None,
        separate=True,
    )  # fmt: skip
    ours = build_policy(AugmentConfig(**SAME[notation], interpolation=interpolation), RGB)
    changed = 0
    for seed in range(30):
        seed_generators(seed)
        try:
            expected = F.pil_to_tensor(stages[1](F.to_pil_image(photograph())))
        except ValueError as error:  # of timm's v0, which asks Pillow for 0 bits
            assert "bits must be" in str(error) and notation == "v0"
            continue
        seed_generators(seed)
        assert torch.equal(ours(photograph()), expected)
        changed += not torch.equal(expected, photograph())
    assert changed >= 10


def test_three_augment_is_grey_solarized_or_blurred():
    policy = build_policy(AugmentConfig(policy="three_augment"), RGB)
    image, kinds = photograph(), []
    for seed in range(60):
        seed_generators(seed)
        view = policy(image)
        if (view[0] == view[1]).all() and (view[1] == view[2]).all():
            kinds.append("grey")
        elif torch.equal(view, torch.where(image < 128, image, 255 - image)):
            kinds.append("solarized")
        else:
            kinds.append("blurred")
            assert view.float().std() <= image.float().std()
    assert all(kinds.count(kind) > 8 for kind in ("grey", "solarized", "blurred"))


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
        "rand-n5-p0.9",
    ],
)
@pytest.mark.parametrize("info", [RGB, GREY], ids=["rgb", "grey"])
def test_all_of_timms_operations_run(notation, info):
    options = {"policy": "random_augment", "random_augment": notation}
    several = views(options, info, photograph(info.channels), 30)
    assert all(torch.isfinite(view).all() for view in several)


@pytest.mark.parametrize("info", [RGB, GREY], ids=["rgb", "grey"])
@pytest.mark.parametrize(
    "options",
    [
        {"policy": "augmix", "augmix": "augmix-m10-w9-d9-mstd50"},
        {"policy": "auto_augment", "policy_name": "v0-mstd9"},
        {"policy": "auto_augment", "policy_name": "originalr-mstd9"},
    ],
    ids=lambda options: options["policy"],
)
def test_no_strength_is_too_much_for_pillow(options, info):
    several = views(options, info, photograph(info.channels), 60)
    assert all(torch.isfinite(view).all() for view in several)
