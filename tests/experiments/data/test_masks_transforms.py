"""An image and its mask change together: places in both, colours in the image alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.data import default_collate

from experiments.config.augment import AugmentConfig
from experiments.data import EvaluationLoader, ImageInfo, Sampling, TrainLoader
from experiments.data.mask_transforms import build_pair_transform, mask_recipe
from experiments.data.masks import TensorMasks
from experiments.data.transforms import build_train_transform
from experiments.errors import ConfigError, DataError

SIDE = 32
NAMES = tuple(map(str, range(256)))


def info(ndim=2, side=SIDE, channels=1, names=NAMES, ignore=None):
    flat = ((0.0,) * channels, (1.0,) * channels)
    masks = {"targets": "mask", "class_names": names, "ignore_index": ignore, "ndim": ndim}
    return ImageInfo(channels, side, *flat, None, **masks)


def ramp(height, width, angle):
    """A plane that rises along a direction, from 0 to 250: neighbours differ by little."""
    y, x = np.mgrid[0:height, 0:width]
    plane = np.cos(angle) * x + np.sin(angle) * y
    return torch.from_numpy((250 * (plane - plane.min()) / np.ptp(plane)).round().astype(np.uint8))


AUGMENTATIONS = {
    "none": {},
    "random_resized_crop": {"random_resized_crop": 0.2},
    "bicubic": {"random_resized_crop": 0.2, "interpolation": "random"},
    "simple": {"crop": "simple", "crop_padding": 4},
    "crop_padding": {"crop_padding": 6},
    "horizontal_flip": {"horizontal_flip": True},
    "vertical_flip": {"vertical_flip": True},
    "rot90": {"rot90": True},
    "rotation": {"rotation": 45.0},
    "half a turn": {"rotation": 180.0},
    "a window": {"size": 24, "rotation": 45.0},
    "all": {
        "random_resized_crop": 0.5, "crop_padding": 3, "horizontal_flip": True,
        "vertical_flip": True, "rot90": True, "rotation": 30.0,
    },
}  # fmt: skip


@pytest.mark.parametrize("size", [(32, 32), (45, 80), (19, 24)])
@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_a_mask_that_is_its_image_stays_its_image(name, size):
    """The ramp's slope bounds what half a pixel of shift would be; the mean shows a bias."""
    change = build_pair_transform(info(), AugmentConfig(**AUGMENTATIONS[name]))
    errors = []
    for seed in range(12):
        torch.manual_seed(seed)
        image = ramp(*size, angle=seed)
        moved, mask = change(image[None], image)
        side = AUGMENTATIONS[name].get("size", SIDE)
        assert moved.shape == (1, side, side) and mask.shape == (side, side)
        errors.append(moved[0].double() - mask.double())
    errors = torch.stack(errors)
    steps = 250 / min(size)  # a pixel of the image, along its steepest side
    assert errors.abs().max() <= 3 * steps
    assert errors.abs().mean() <= 0.6 * steps and errors.mean().abs() < 1


def test_a_mask_moved_by_other_draws_would_be_seen():
    change = build_pair_transform(info(), AugmentConfig(**AUGMENTATIONS["all"]))
    image, means = ramp(32, 32, 0), []
    for seed in range(12):
        torch.manual_seed(seed)
        moved, _ = change(image[None], image)
        torch.manual_seed(seed + 100)
        _, mask = change(image[None], image)
        means.append((moved[0].double() - mask.double()).abs().mean())
    assert torch.stack(means).mean() > 0.6 * 250 / 32


@pytest.mark.parametrize("factor", [2, 4])
def test_a_mask_is_reduced_around_the_centres_of_its_pixels(factor):
    """Column c of the mask is one of the pixels beside the middle of what column c of it covers."""
    wide = torch.arange(SIDE * factor, dtype=torch.uint8).expand(SIDE * factor, -1)
    _, mask = build_pair_transform(info())(wide[None], wide)
    middle = torch.arange(SIDE) * factor + (factor - 1) / 2
    assert ((mask[0] - middle).abs() <= 0.5).all()


def test_masks_are_never_mixed_values():
    """Of classes 0 and 200 nothing in between, though the image has all of it."""
    mask = (ramp(40, 40, 0.7) > 120).to(torch.uint8) * 200
    change = build_pair_transform(info(), AugmentConfig(**AUGMENTATIONS["all"]))
    seen = set()
    for seed in range(10):
        torch.manual_seed(seed)
        image, moved = change(mask[None], mask)
        seen |= set(moved.unique().tolist())
    assert seen == {0, 200} and len(image.unique()) > 2


def test_what_turns_into_view_is_the_mirrored_picture_and_has_its_classes():
    """No corner of a turned mask is of a class that the mask has not."""
    image = torch.full((1, SIDE, SIDE), 90, dtype=torch.uint8)
    for options in ({"rotation": 45.0}, {"crop_padding": 8}):
        change = build_pair_transform(info(), AugmentConfig(**options))
        torch.manual_seed(1)
        moved, mask = change(image, torch.full((SIDE, SIDE), 7))
        assert set(mask.unique().tolist()) == {7} and set(moved.unique().tolist()) == {90}


@pytest.mark.parametrize(
    "options",
    [
        {"colour_jitter": 0.4},
        {"policy": "three_augment"},
        {"erasing": 1.0},
        {"erasing": 1.0, "erasing_mode": "pixel"},
    ],
)
def test_colours_change_the_image_alone(options):
    picture = info(channels=3)
    image = torch.randint(256, (3, SIDE, SIDE), generator=torch.Generator().manual_seed(0))
    mask = ramp(SIDE, SIDE, 0.3)
    pipeline = build_pair_transform(picture, AugmentConfig(**options))
    torch.manual_seed(3)
    moved, kept = pipeline(image.to(torch.uint8), mask)
    assert torch.equal(kept, mask) and moved.shape == image.shape
    assert not torch.equal(moved.float(), image.float())


@pytest.mark.parametrize("options", [{"vertical_flip": True}, {"rot90": True}])
def test_images_of_classes_have_the_new_moves_too(options):
    """All symmetries appear, each a symmetry of the image; the eight of a square with rot90."""
    plain = ImageInfo(1, 4, (0.0,), (1 / 255,), 4)
    image = torch.arange(16, dtype=torch.uint8).reshape(1, 4, 4)
    change = build_train_transform(AugmentConfig(**options), plain)
    torch.manual_seed(0)
    seen = {tuple(change(image).round().int().flatten().tolist()) for _ in range(100)}
    turned = [torch.rot90(image, k, (1, 2)) for k in range(4)]
    square = {tuple(each.flatten().tolist()) for t in turned for each in (t, t.transpose(1, 2))}
    halves = {tuple(each.flatten().tolist()) for each in (image, image.flip(1))}
    assert seen == (square if "rot90" in options else halves)


# ----------------------------------------------------------------------------------------- volumes
def test_volumes_are_flipped_and_cropped_with_their_masks():
    volume = torch.arange(6**3).reshape(6, 6, 6).to(torch.uint8)
    options = {"horizontal_flip": True, "vertical_flip": True, "crop_padding": 2}
    change = build_pair_transform(info(3, 6), AugmentConfig(**options))
    seen = set()
    for seed in range(20):
        torch.manual_seed(seed)
        moved, mask = change(volume[None], volume)
        assert torch.equal(moved[0], mask)
        seen.add(tuple(mask.flatten().tolist()))
    assert len(seen) > 10
    with pytest.raises(DataError, match=r"volume of \(6, 6, 6\) .* give both as \(5, 5, 5\)"):
        build_pair_transform(info(3, 5))(volume[None], volume)


@pytest.mark.parametrize(
    "options, ndim, said",
    [
        ({"mixup": 0.2}, 2, "augment.mixup=0.2 with masks: .* cannot be mixed; type .*mixup=0.0"),
        ({"cutmix": 1.0}, 2, "augment.cutmix=1.0 with masks: .*; type augment.cutmix=0.0"),
        ({"crop": "keep_ratio"}, 2, "augment.crop=keep_ratio .*; type augment.crop=none"),
        ({"policy": "auto_augment"}, 2, "it may move pixels .* type augment.policy=none"),
        ({"rot90": True}, 3, "volumes are flipped and cropped only; type augment.rot90=false"),
        ({"rotation": 5.0}, 3, "type augment.rotation=0.0"),
        ({"colour_jitter": 0.1}, 3, "type augment.colour_jitter=0.0"),
        ({"crop_padding": 40}, 2, "augment.crop_padding=40: reflection needs less"),
    ],
)
def test_what_cannot_move_a_mask_is_refused(options, ndim, said):
    with pytest.raises(ConfigError, match=said) as caught:
        mask_recipe(info(ndim), AugmentConfig(**options))
    assert "\n" not in str(caught.value)


# ----------------------------------------------------------------------------------------- loaders
@pytest.mark.parametrize("ndim", [2, 3])
def test_batches_in_memory_are_those_of_each_item(ndim):
    shape = (5,) * ndim
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (7, 2, *shape), generator=generator, dtype=torch.uint8)
    masks = torch.randint(9, (7, *shape), generator=generator, dtype=torch.uint8)
    data = TensorMasks(images, masks, NAMES)
    assert data.ndim == ndim
    recipe = mask_recipe(info(ndim, 5, channels=2))
    assert recipe.whole_batches
    loader = EvaluationLoader(data, recipe, batch_size=3, rank=0, world_size=1)
    batches = list(loader)
    each = recipe.finish(*default_collate([recipe.prepare(*data[i]) for i in range(3)]))
    assert all(torch.equal(a, b) for a, b in zip(batches[0], each, strict=True))
    assert batches[0][0].shape == (3, 2, *shape) and batches[0][0].dtype == torch.float32
    assert batches[0][1].shape == (3, *shape) and batches[0][1].dtype == torch.int64
    assert torch.equal(torch.cat([batch[1] for batch in batches]), masks.long())
    assert torch.allclose(batches[0][0].double(), images[:3].double() / 255, atol=1e-6)


def test_a_value_that_is_no_class_is_named_with_its_image():
    masks = torch.zeros(4, 5, 5, dtype=torch.uint8)
    masks[2, 1, 1] = 255
    data = TensorMasks(torch.zeros(4, 1, 5, 5, dtype=torch.uint8), masks, NAMES[:3])
    options = {"batch_size": 4, "accumulation": 1, "rank": 0, "world_size": 1}
    loader = TrainLoader(
        data, mask_recipe(info(2, 5, names=NAMES[:3])), sampling=Sampling(), **options
    )
    with pytest.raises(
        DataError, match="image 2 of TensorMasks has a mask with the value 255 in 1"
    ):
        next(loader.epoch(0))
    ignoring = info(2, 5, names=NAMES[:3], ignore=255)
    flipped = mask_recipe(ignoring, AugmentConfig(horizontal_flip=True))
    loader = TrainLoader(data, flipped, sampling=Sampling(), **options)
    ((_, batch),) = next(loader.epoch(0))
    assert sorted(batch.unique().tolist()) == [0, 255]
