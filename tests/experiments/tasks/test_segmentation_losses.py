"""Losses over masks: their formulas by hand, what is ignored, weights, and how batches divide."""

from __future__ import annotations

import importlib.util

import pytest
import torch
from torch.nn import functional as F

from experiments.config.map_losses import MAP_LOSSES
from experiments.data import extras
from experiments.errors import ConfigError, DataError
from experiments.tasks.map_losses import MapLoss

IGNORED = 255
NAMES = list(MAP_LOSSES)
SIZES = [(4, 5), (3, 4, 2)]


def make(name, classes, ignore=None, **options):
    return MapLoss(MAP_LOSSES[name](name=name, **options), classes, ignore)


def batch(classes, size=(4, 5), count=3, seed=0):
    """Maps (B, K, *S) in float64 and masks (B, *S)."""
    generator = torch.Generator().manual_seed(seed)
    shape = (count, 1 if classes == 2 else classes, *size)
    maps = torch.randn(shape, generator=generator, dtype=torch.float64)
    return maps, torch.randint(0, classes, (count, *size), generator=generator)


def probabilities(maps, masks):
    """softmax and one-hot truth as (B, C, pixels); of one map sigmoid and its rest."""
    p = (
        torch.cat((1 - maps.sigmoid(), maps.sigmoid()), 1)
        if maps.shape[1] == 1
        else maps.softmax(1)
    )
    t = F.one_hot(masks, p.shape[1]).movedim(-1, 1).to(p)
    return p.flatten(2), t.flatten(2)


def dice(p, t, s=1.0):
    return (2 * (p * t).sum(2) + s) / (p.sum(2) + t.sum(2) + s)


def cross_entropy(p, t):
    return -(t * p.log()).sum(1).mean()


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("classes", [2, 4])
def test_losses_are_their_formulas(classes, size):
    maps, masks = batch(classes, size)
    p, t = probabilities(maps, masks)
    D, ce = (1 - dice(p, t)).mean(), cross_entropy(p, t)
    tp, fp, fn = (p * t).sum(2), (p * (1 - t)).sum(2), ((1 - p) * t).sum(2)
    focal = ((t * (1 - p) ** 1.5 * -p.log()).sum(1)).mean()
    expected = {
        "cross_entropy": ({}, ce),
        "dice": ({"smooth": 0.3}, (1 - dice(p, t, 0.3)).mean()),
        "dice_ce": ({"weight": 0.5}, D + 0.5 * ce),
        "dice_focal": ({"gamma": 1.5, "weight": 2.0}, D + 2 * focal),
        "tversky": (
            {"alpha": 0.3, "beta": 0.7, "gamma": 2.0},
            ((1 - (tp + 1) / (tp + 0.3 * fp + 0.7 * fn + 1)) ** 2).mean(),
        ),
    }
    for name, (options, value) in expected.items():
        torch.testing.assert_close(make(name, classes, **options)(maps, masks), value)


def test_dice_with_bce_is_the_published_one():
    """DiceLossWithBCE(1, .1): of one map its sigmoid alone; of several their softmax, and a
    sigmoid for each in the second term."""
    maps, masks = batch(2)
    s, t = maps.sigmoid().flatten(2), masks[:, None].double().flatten(2)
    bce = F.binary_cross_entropy_with_logits(maps.flatten(2), t)
    expected = (1 - dice(s, t)).mean() + 0.1 * bce
    torch.testing.assert_close(make("dice_bce", 2)(maps, masks), expected)
    maps, masks = batch(4)
    p, t = probabilities(maps, masks)
    bce = F.binary_cross_entropy_with_logits(maps.flatten(2), t)
    found = make("dice_bce", 4, background=True)(maps, masks)
    torch.testing.assert_close(found, (1 - dice(p, t)).mean() + 0.1 * bce)


def test_overlap_without_background_and_over_a_batch():
    maps, masks = batch(4)
    p, t = probabilities(maps, masks)
    found = make("dice", 4, background=False)(maps, masks)
    torch.testing.assert_close(found, (1 - dice(p, t))[:, 1:].mean())
    whole = [x.movedim(1, 0).flatten(1)[None] for x in (p, t)]
    found = make("dice", 4, per_image=False)(maps, masks)
    torch.testing.assert_close(found, (1 - dice(*whole)).mean())


def test_lovasz_of_perfect_and_of_wrong_predictions():
    """The extension equals 1 - IoU at certain predictions: class 0 has 2 of 4 pixels, 1 found."""
    masks = torch.tensor([[[0, 0], [1, 1]]])
    guess = torch.tensor([[[0, 1], [1, 1]]])
    maps = 100.0 * F.one_hot(guess, 3).movedim(-1, 1).float()
    expected = ((1 - 1 / 2) + (1 - 2 / 3)) / 2  # class 2 is absent
    found = make("lovasz", 3)(maps, masks)
    torch.testing.assert_close(found, torch.tensor(expected))


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("name", NAMES)
def test_a_batch_is_the_mean_of_its_images(name, classes, size):
    """So micro-batches and processes change nothing, though images have other ignored pixels."""
    maps, masks = batch(classes, size, count=4)
    maps = maps.float() if name == "lovasz" else maps  # that library knows no float64
    masks[1, 0], masks[2] = IGNORED, IGNORED
    loss = make(name, classes, IGNORED)
    parts = [loss(maps[i : i + 1], masks[i : i + 1]) for i in range(4)]
    torch.testing.assert_close(loss(maps, masks), torch.stack(parts).mean())
    assert all(part > 0 for part in (parts[0], parts[1], parts[3]))


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("name", NAMES)
def test_ignored_pixels_do_not_exist(name, classes):
    """The loss is that of images without them, and no gradient reaches them."""
    maps, masks = batch(classes)
    maps = maps.float() if name == "lovasz" else maps
    cut = make(name, classes)(maps[:, :, 1:], masks[:, 1:])
    masks[:, 0] = IGNORED
    maps.requires_grad_()
    loss = make(name, classes, IGNORED)(maps, masks)
    loss.backward()
    torch.testing.assert_close(loss, cut)
    assert not maps.grad[:, :, 0].any() and maps.grad[:, :, 1:].any()
    maps.grad = None
    nothing = make(name, classes, IGNORED)(maps, torch.full_like(masks, IGNORED))
    nothing.backward()
    assert maps.grad.isfinite().all() and not maps.grad.any()


@pytest.mark.parametrize("name", [name for name in NAMES if name != "lovasz"])
def test_class_weights_are_scaled_to_a_mean_of_one(name):
    maps, masks = batch(4)
    plain = make(name, 4)(maps, masks)
    torch.testing.assert_close(make(name, 4, class_weights=[7.0] * 4)(maps, masks), plain)
    alone = make(name, 4, class_weights=[0.0, 0.0, 0.0, 2.0])
    other = torch.where(masks == 3, masks, 0)
    if name in ("dice", "tversky"):  # what the other classes are does not matter
        torch.testing.assert_close(alone(maps, masks), alone(maps, other))
    assert not torch.isclose(alone(maps, masks), plain)


def test_weighted_cross_entropy_by_hand():
    maps, masks = batch(3)
    p, t = probabilities(maps, masks)
    w = torch.tensor([1.0, 2.0, 3.0]).double() / 2
    expected = -(t * p.log() * w[:, None]).sum(1).mean()
    found = make("cross_entropy", 3, class_weights=[1.0, 2.0, 3.0])(maps, masks)
    torch.testing.assert_close(found, expected)


def test_narrow_logits_are_computed_in_float32():
    maps, masks = batch(4)
    narrow = maps.bfloat16()
    for name in NAMES:
        loss = make(name, 4)
        found = loss(narrow, masks)
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, loss(narrow.float(), masks))


def test_what_cannot_work_is_refused(monkeypatch):
    with pytest.raises(ConfigError, match=r"loss.class_weights has 3 weights: must hold one per"):
        make("dice_ce", 4, class_weights=[1.0, 2.0, 3.0])
    with pytest.raises(ConfigError, match=r"loss.class_weights.*Lovasz.*loss=dice_ce"):
        make("lovasz", 2, class_weights=[1.0, 2.0])
    with pytest.raises(ConfigError, match=r"loss.output_weights"):
        make("dice", 2, output_weights=[0.0])
    find = importlib.util.find_spec
    monkeypatch.setattr(
        extras.importlib.util,
        "find_spec",
        lambda name: None if name in ("monai", "segmentation_models_pytorch") else find(name),
    )
    with pytest.raises(DataError, match=r"loss=dice needs the package monai.*pip install monai"):
        make("dice", 2)
    with pytest.raises(DataError, match="pip install segmentation_models_pytorch"):
        make("lovasz", 2)
    make("cross_entropy", 2)
