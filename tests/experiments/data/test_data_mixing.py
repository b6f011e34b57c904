"""Mixup and cutmix: targets are the shares of images, whatever shares a draw."""

from __future__ import annotations

import pytest
import torch

from experiments.config.augment import AugmentConfig
from experiments.data.mixing import build_mix
from experiments.data.seeding import seed_generators


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


def mixed(seed: int, **options) -> tuple[torch.Tensor, torch.Tensor]:
    """Eight images, each of the number that its class is, mixed."""
    mix = build_mix(AugmentConfig(**options), 8)
    assert mix is not None
    seed_generators(seed)
    images, _ = batch()
    return mix(images, torch.arange(8))


def is_cutmix(image: torch.Tensor) -> bool:
    return torch.equal(image, image.round())


BOTH = {"mixup": 1.0, "cutmix": 1.0}


@pytest.mark.parametrize("mode", ["batch", "elem", "pair"])
def test_every_mode_mixes_targets_as_it_mixes_images(mode):
    shared = set()
    for seed in range(10):
        images, targets = mixed(seed, mix_mode=mode, **BOTH)
        assert targets.shape == (8, 8) and targets.dtype == torch.float32
        torch.testing.assert_close(targets.sum(1), torch.ones(8))
        torch.testing.assert_close(images.mean((1, 2, 3)), targets @ torch.arange(8.0))
        kept = targets.diagonal().round(decimals=5)
        shared.add((kept.unique().numel() == 1, torch.equal(kept, kept.flip(0))))
    # (one draw for all, one for each pair)
    assert (True, True) in shared if mode == "batch" else (True, True) not in shared
    assert ((False, True) in shared) == (mode == "pair")
    assert ((False, False) in shared) == (mode == "elem")


@pytest.mark.parametrize("mode", ["batch", "elem", "pair"])
def test_the_switch_probability_is_that_of_cutmix(mode):
    for switch, least, most in ((0.0, 0.0, 0.0), (0.8, 0.6, 0.95), (1.0, 1.0, 1.0)):
        found = [
            is_cutmix(images[0])
            for images, targets in (
                mixed(seed, mix_mode=mode, switch_probability=switch, **BOTH) for seed in range(80)
            )
            if targets[0].max() < 1  # an empty rectangle, or all of the other image
        ]
        assert least <= sum(found) / len(found) <= most


@pytest.mark.parametrize("mode", ["elem", "pair"])
def test_the_probability_of_mixing_is_that_of_an_image_or_a_pair(mode):
    untouched = 0
    for seed in range(40):
        _, targets = mixed(seed, mix_mode=mode, mixup=1.0, mix_probability=0.5)
        alone = targets.diagonal() == 1
        assert int(alone.sum()) > 0 or mode == "pair"
        untouched += int(alone.sum())
    assert 0.3 < untouched / 320 < 0.7


@pytest.mark.parametrize("mode", ["batch", "elem", "pair"])
def test_a_mix_depends_on_its_seed_alone(mode):
    first, again = (mixed(3, mix_mode=mode, **BOTH) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[1], mixed(4, mix_mode=mode, **BOTH)[1])
