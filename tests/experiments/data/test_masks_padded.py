"""data.resize=pad: a mask lies on its inscribed image, and its border is of no class."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch.nn import functional as F

from experiments.config.augment import AugmentConfig
from experiments.config.compose import load_config
from experiments.data import EvaluationLoader, ImageInfo
from experiments.data.containers import Datasets
from experiments.data.mask_transforms import build_pair_transform, mask_recipe
from experiments.data.masks import BORDER, TensorMasks
from experiments.errors import DataError, UserError
from experiments.tasks.base import create_task
from experiments.tasks.overlays import plot_overlays
from models.description import Preprocessing, inscribed

FILL = 26  # of the border of an image whose mean is 0.1


NAMES = tuple(map(str, range(256)))


def info(side=32, names=NAMES, ignore=None, channels=1):
    flat = ((0.1,) * channels, (1.0,) * channels)
    masks = {"targets": "mask", "class_names": names, "ignore_index": ignore, "fit": "pad"}
    return ImageInfo(channels, side, *flat, None, **masks)


def ramp(height, width, angle):
    """A plane that rises along a direction, from 100 to 250: neighbours differ by little."""
    y, x = np.mgrid[0:height, 0:width]
    plane = np.cos(angle) * x + np.sin(angle) * y
    return torch.from_numpy((100 + 150 * (plane - plane.min()) / np.ptp(plane)).round()).byte()


def lines(image):
    return image[0].int(), image[:, 0].int()


@pytest.mark.parametrize("side", [32, (24, 40)])
@pytest.mark.parametrize("size", [(96, 48), (45, 80), (19, 24), (7, 90)])
def test_a_mask_that_is_its_image_stays_its_image(size, side):
    """A shift would show in the mean error; where a centre lies between two stored pixels the mask
    has one of them, which is half a pixel of the ramp."""
    change = build_pair_transform(info(side))
    (height, width), (rows, columns) = inscribed(size, info(side).sides)
    steps = 150 * max(own / new for own, new in zip(size, (height, width), strict=True)) / min(size)
    for angle in np.linspace(0, 2 * np.pi, 8, endpoint=False):
        image = ramp(*size, angle)
        moved, mask = change(image[None], image)
        assert moved.shape[1:] == mask.shape == info(side).sides
        inner = torch.zeros(mask.shape, dtype=torch.bool)
        inner[rows, columns] = True
        assert torch.equal(mask == BORDER, ~inner) and (moved[0][~inner] == FILL).all()
        errors = (moved[0].double() - mask.double())[inner]
        assert errors.abs().max() <= 3 * steps
        between = 0.5 * sum(half.diff().abs().double().mean() for half in lines(image))
        assert errors.mean().abs() <= between + 0.6  # of rounded pixels
    assert height == info(side).sides[0] or width == info(side).sides[1]


def far_from_all_else(places):
    return F.avg_pool2d(places[None].float(), 5, 1, 2)[0] == 1


@pytest.mark.parametrize("size", [(20, 32), (45, 80), (80, 45)])
@pytest.mark.parametrize(
    "options",
    [
        {"horizontal_flip": True, "vertical_flip": True, "rot90": True},
        {"crop_padding": 8},
        {"rotation": 45.0},
    ],
)
def test_the_border_moves_with_its_image(size, options):
    change = build_pair_transform(info(), AugmentConfig(**options))
    for seed in range(8):
        torch.manual_seed(seed)
        image = ramp(*size, angle=seed)
        moved, mask = change(image[None], image)
        border = mask == BORDER
        assert border.any() and (mask[~border] >= 100).all()
        inner = ~border
        if "rotation" in options:  # which mixes the pixels beside an edge, and those out of view
            border, inner = (far_from_all_else(part) for part in (border, inner))
        assert (moved[0][border] == FILL).all() and border.any()
        assert (moved[0].double() - mask.double())[inner].abs().max() <= 25


def test_places_by_hand():
    """10 x 20 in 24 x 16: s = 0.8, 8 x 16 pixels from row 8; a size of its own gets no border."""
    rule = info((24, 16)).preprocessing
    assert inscribed((10, 20), (24, 16)) == ([8, 16], (slice(8, 16), slice(0, 16)))
    assert inscribed((3000, 3), (24, 16)) == ([24, 1], (slice(0, 24), slice(7, 8)))
    assert rule == Preprocessing((24, 16), (24, 16), "bilinear", (0.1,), (1.0,), pad=True)
    assert rule.place_of((10, 20)) == (slice(8, 16), slice(0, 16))
    columns = torch.arange(32, dtype=torch.uint8).expand(16, -1)
    _, mask = build_pair_transform(info(16))(columns[None], columns)  # 8 x 16, each of 2 x 2
    assert (mask[4:12] >= 0).all() and (mask[:4] == BORDER).all() and (mask[12:] == BORDER).all()
    assert ((mask[4] - (2 * torch.arange(16) + 0.5)).abs() == 0.5).all()
    same = torch.zeros(16, 16, dtype=torch.uint8)
    assert build_pair_transform(info(16))(same[None], same)[1] is same


# ------------------------------------------------------------------------------------- the values
@pytest.mark.parametrize(
    ("ignore", "classes", "value"), [(None, 3, 255), (-100, 3, -100), (7, 3, 7), (None, 300, 300)]
)
def test_a_batch_holds_a_value_that_the_stored_masks_may_not_hold(ignore, classes, value):
    names = tuple(map(str, range(classes)))
    stored = torch.arange(2 * 4 * 8).reshape(2, 4, 8) % classes
    images = torch.zeros(2, 1, 4, 8, dtype=torch.uint8)
    for masks in (stored, stored.byte()) if classes < 256 else (stored,):
        recipe, data = mask_recipe(info(8, names, ignore)), TensorMasks(images, masks, names)
        for whole in (True, False):  # in memory at once, or each item for itself
            given = data if whole else [data[i] for i in range(2)]
            ((_, batch),) = EvaluationLoader(given, recipe, batch_size=2, rank=0, world_size=1)
            assert torch.equal(batch[:, 2:6], stored) and batch.dtype == torch.int64
            assert (batch[:, :2] == value).all() and (batch[:, 6:] == value).all()
            if ignore is None and not (classes > 255 and masks.dtype == torch.uint8):
                wrong = TensorMasks(images, masks.clone().long(), names)
                wrong.targets[1, 3, 5] = value
                given = wrong if whole else [wrong[i] for i in range(2)]
                said = rf"image 1 of \w+ has a mask with the value {value} in 1 of 32 pixels"
                with pytest.raises(DataError, match=said):
                    list(EvaluationLoader(given, recipe, batch_size=2, rank=0, world_size=1))


class Pictures:
    """Noise of four shapes with three classes."""

    classes = ("ground", "cat", "dog")

    def __init__(self, ignore=None):
        draw = np.random.default_rng(0)
        self.ignore_index, self.items = ignore, []
        for size in [(8, 16), (16, 8), (16, 16), (5, 16), (10, 20), (30, 9), (12, 12), (16, 3)]:
            image = Image.fromarray(draw.integers(0, 256, size, dtype=np.uint8))
            mask = draw.integers(0, 3, size)
            mask[0, 0] = 0 if ignore is None else ignore
            self.items.append((image, mask))

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        return self.items[index]


def task_of(ignore=None, *overrides):
    options = ["data=digits", "data.image_size=16", "model=unet", "model.depth=2"]
    config = load_config("segmentation", [*options, "trainer.batch_size=4", *overrides])
    data = Pictures(ignore)
    return create_task(config, Datasets(data, data, data)), data


@pytest.mark.parametrize("ignore", [None, 9])
def test_loss_and_figures_are_those_of_maps_without_a_border(ignore):
    """And no gradient reaches the border, to the last bit."""
    task, data = task_of(ignore, "data.resize=pad", "loss=dice_ce", "metrics.hausdorff=false")
    recipe = task.recipe(training=False)
    inputs, masks = recipe.finish(*recipe.collate([recipe.prepare(*item) for item in data.items]))
    maps = torch.randn(8, 3, 16, 16, generator=torch.Generator().manual_seed(1)).double()
    maps.requires_grad_()
    loss = task.criterion(maps, masks)
    loss.backward()
    metrics, alone = (task.metrics("cpu") for _ in range(2))
    rule, parts = task.info.preprocessing, []
    assert rule.pad and inputs.shape == (8, 1, 16, 16)
    metrics.update(maps, masks)
    details = task.details("cpu")
    details.update(maps, masks)
    for i, (_, stored) in enumerate(data.items):
        rows, columns = rule.place_of(stored.shape)
        border = torch.ones(16, 16, dtype=torch.bool)
        border[rows, columns] = False
        assert not maps.grad[i][:, border].any() and maps.grad[i][:, ~border].any()
        inner = masks[i : i + 1, rows, columns]
        assert (masks[i][border] == (255 if ignore is None else 9)).all()
        if stored.shape == inner.shape[1:]:  # not resized
            assert torch.equal(inner[0], torch.from_numpy(stored))
        cut = maps.detach()[i : i + 1, :, rows, columns]
        parts.append(task.criterion(cut, inner))
        alone.update(cut, inner)
    torch.testing.assert_close(loss.detach(), torch.stack(parts).mean(), rtol=1e-12, atol=0)
    assert metrics.compute() == pytest.approx(alone.compute(), rel=1e-12)
    pixels = sum(row["pixels"] for row in details.compute()["classes"])
    assert pixels == int(((masks >= 0) & (masks < 3)).sum())
    assert float(task.running(maps, masks)) == pytest.approx(8 * metrics.compute()["iou_per_image"])


def test_classes_are_weighed_by_the_stored_masks():
    weights = [task_of(None, f"data.resize={rule}", "loss.class_weights=balanced")[0].loss.weights
               for rule in ("pad", "squash")]  # fmt: skip
    assert torch.equal(*weights) and len(set(weights[0].tolist())) == 3


def test_a_stored_border_value_is_refused_before_training():
    task, data = task_of(None, "data.resize=pad")
    mask = data.items[5][1]
    assert task.check_target(mask) is None
    mask[2, 2] = 255
    assert "value 255 in 1 of 270 pixels" in task.check_target(mask)


def test_random_crops_have_no_border():
    """They fill the size as ever."""
    wide = torch.zeros(20, 60, dtype=torch.uint8)
    recipe = mask_recipe(info(16, ("a", "b")), AugmentConfig(random_resized_crop=0.5))
    assert not recipe.prepare(wide[None], wide)[1].any()


def test_volumes_are_not_padded():
    volumes = TensorMasks(torch.zeros(4, 1, 6, 6, 6, dtype=torch.uint8),
                          torch.arange(4)[:, None, None, None].expand(4, 6, 6, 6).byte() % 2,
                          ["a", "b"])  # fmt: skip
    config = load_config("segmentation", ["data=digits", "model=unet", "data.resize=pad"])
    with pytest.raises(UserError, match=r"volumes are never resized.*type data.resize=crop"):
        create_task(config, Datasets(volumes, volumes, volumes))


def test_pictures_of_a_test_show_the_image_alone(figures: list[Figure], tmp_path):
    task, data = task_of(None, "data.resize=pad")
    recipe = task.recipe(training=False)

    def predict(indices):
        items = [recipe.finish(*recipe.collate([recipe.prepare(*data[i])])) for i in indices]
        return [(inputs, torch.zeros(1, 3, 16, 16), masks) for inputs, masks in items]

    examples = {"worst": [{"index": 0, "iou": 0.1}, {"index": 2, "iou": 0.2}]}
    plot_overlays(examples, predict, task.info, tmp_path / "overlays.png")
    shapes = [axes.get_images()[0].get_array().shape[:2] for axes in figures[0].axes]
    assert shapes == [(8, 16)] * 3 + [(16, 16)] * 3
    drawn = figures[0].axes[0].get_images()[0].get_array()[..., 0] * 255
    assert abs(drawn - np.asarray(data[0][0])).max() < 1e-3
