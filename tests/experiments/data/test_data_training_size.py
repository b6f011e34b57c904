"""augment.size: training's images are cut to a side of their own, those of evaluation are whole."""

from __future__ import annotations

import pytest
import torch

from experiments.config.augment import AugmentConfig
from experiments.data import EvaluationLoader, ImageInfo, Sampling, TrainLoader
from experiments.data.mask_transforms import build_pair_transform, mask_recipe
from experiments.data.masks import TensorMasks
from experiments.data.transforms import build_train_transform
from experiments.errors import ConfigError

SIDE, SIZE = 8, 5
NAMES = tuple(map(str, range(256)))


def info(side=SIDE, ndim=2, native=SIDE) -> ImageInfo:
    return ImageInfo(1, side, (0.0,), (1 / 255,), native, targets="mask", class_names=NAMES,
                     ndim=ndim)  # fmt: skip


def places(ndim=2, side=SIDE) -> torch.Tensor:
    """An image whose pixels hold their place: y * side + x, and so on. Shape: (1, *S)"""
    return torch.arange(side**ndim, dtype=torch.uint8).reshape(1, *(side,) * ndim)


@pytest.mark.parametrize("padding", [0, 2])
@pytest.mark.parametrize("ndim", [2, 3])
def test_a_mask_goes_along_and_every_place_is_reached(ndim: int, padding: int) -> None:
    """Ends included, and as far as the mirrored border, if there is one."""
    side, size = (SIDE, SIZE) if ndim == 2 else (5, 4)
    image = places(ndim, side)
    change = build_pair_transform(info(side, ndim), AugmentConfig(size=size, crop_padding=padding))
    reached = range(-padding, side + padding)
    row = torch.tensor([min(abs(place), 2 * (side - 1) - abs(place)) for place in reached])
    starts = range(len(row) - size + 1)
    expected = set()
    for start in torch.cartesian_prod(*[torch.tensor(starts)] * ndim).tolist():
        cut = image[0]
        for axis, first in enumerate(start):
            cut = cut.index_select(axis, row[first : first + size])
        expected.add(tuple(cut.flatten().tolist()))
    torch.manual_seed(0)
    seen = set()
    for _ in range(12 * len(starts) ** ndim):  # each is missed with a chance of e^-12
        window, mask = change(image, image[0])
        assert window.shape == (1, *(size,) * ndim) and torch.equal(window[0], mask)
        seen.add(tuple(mask.flatten().tolist()))
    assert seen == expected and len(seen) == len(starts) ** ndim


def test_a_classifier_sees_windows_of_the_image_of_evaluation() -> None:
    """Which is the middle of a larger image: what that cuts off is in no window."""
    image = places(side=11)
    change = build_train_transform(AugmentConfig(size=SIZE), info(side=SIDE, native=None))
    whole = build_train_transform(AugmentConfig(), info(side=SIDE, native=None)).changes(image)
    expected = {whole[0, y : y + SIZE, x : x + SIZE].flatten() for y in range(4) for x in range(4)}
    torch.manual_seed(0)
    seen = {tuple(change.changes(image).flatten().tolist()) for _ in range(200)}
    assert whole.shape == (1, SIDE, SIDE) and change.random
    assert seen == {tuple(window.tolist()) for window in expected}


@pytest.mark.parametrize("options", [
    {"random_resized_crop": 0.5}, {"crop": "simple", "crop_padding": 4}, {"crop": "keep_ratio"},
    {"rot90": True, "rotation": 20.0, "policy": "random_augment"}, {"erasing": 1.0},
])  # fmt: skip
@pytest.mark.parametrize("size", [12, 24])
def test_random_crops_have_the_size_and_may_enlarge(options: dict, size: int) -> None:
    """Rectangles of evaluation are no matter: what is trained on are squares."""
    change = AugmentConfig(size=size, **options)
    rectangles = ImageInfo(1, (16, 18), (0.5,), (0.5,), None)
    if size == 24 and not {"crop", "random_resized_crop"} & options.keys():
        with pytest.raises(ConfigError, match=r"augment.size=24: .* 16 x 18; type augment.size=16"):
            build_train_transform(change, rectangles)
        return
    image = torch.randint(0, 255, (1, 30, 20), dtype=torch.uint8)
    assert build_train_transform(change, rectangles)(image).shape == (1, size, size)


def test_what_cannot_be_cut_is_refused_in_words() -> None:
    with pytest.raises(ConfigError, match=r"augment.size=0: must be a side of 1 or more, or null"):
        AugmentConfig(size=0)
    larger = AugmentConfig(size=9)
    enlarges = "out of images of 8 x 8; type augment.size=8 or less, or augment.random_resized_crop"
    with pytest.raises(ConfigError, match=enlarges):
        build_pair_transform(info(), larger)
    with pytest.raises(ConfigError, match=r"of 8 x 8 x 8; type augment.size=8 or less$"):
        build_pair_transform(info(ndim=3), larger)
    with pytest.raises(ConfigError, match=r"augment.crop_padding=8: reflection needs less"):
        build_pair_transform(info(), AugmentConfig(size=SIZE, crop_padding=8))


@pytest.mark.parametrize("padding", [0, 3])
def test_the_size_of_evaluation_changes_nothing(padding: int) -> None:
    made = [build_pair_transform(info(), AugmentConfig(size=size, crop_padding=padding))
            for size in (None, SIDE)]  # fmt: skip
    moved = []
    for change in made:
        torch.manual_seed(0)
        moved.append(change(places(), places()[0])[1])
        assert change.random == bool(padding)
    assert torch.equal(*moved)


def test_batches_have_the_size_in_training_alone_whoever_reads_them() -> None:
    """The window of an image is that of (seed, epoch, image), in one process or in several."""
    images = torch.randint(0, 255, (16, 1, SIDE, SIDE), dtype=torch.uint8)
    data = TensorMasks(images, images[:, 0], NAMES)
    recipe = mask_recipe(info(), AugmentConfig(size=SIZE))

    def epoch(rank: int = 0, **options: int) -> list[torch.Tensor]:
        given = {"batch_size": 8, "accumulation": 1, "world_size": 1, **options}
        loader = TrainLoader(data, recipe, rank=rank, sampling=Sampling.of(0), **given)
        found = [images for step in loader.epoch(1) for images, masks in step]
        loader.close()
        return found

    alone, others = epoch(), [epoch(rank, world_size=2) for rank in range(2)]
    assert [batch.shape for batch in alone] == [(8, 1, SIZE, SIZE)] * 2
    for batch, *parts in zip(alone, *others, strict=True):
        assert torch.equal(batch, torch.cat(parts))
    for batch, other in zip(alone, epoch(workers=1), strict=True):
        assert torch.equal(batch, other)
    judged = EvaluationLoader(data, mask_recipe(info()), batch_size=16, rank=0, world_size=1)
    assert next(iter(judged))[0].shape == (16, 1, SIDE, SIDE)
