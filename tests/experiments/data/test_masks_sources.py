"""Datasets with masks by name: canvases, pets and the template brain."""

from __future__ import annotations

import importlib.util
import sys
import types
from itertools import pairwise

import numpy as np
import pytest
import torch
import yaml
from mask_data import mask_of, picture, save
from PIL import Image

from experiments.config.augment import AugmentConfig
from experiments.config.compose import load_config
from experiments.config.data import DataConfig
from experiments.config.groups import CONFIG_DIR
from experiments.config.parse import build_group
from experiments.data import (
    EvaluationLoader,
    ImageInfo,
    Sampling,
    TrainLoader,
    describe_images,
    load_datasets,
)
from experiments.data import brain as module
from experiments.data.admit import admit
from experiments.data.brain import GAP
from experiments.data.canvas import FOREGROUND
from experiments.data.mask_transforms import mask_recipe
from experiments.errors import ConfigError, DataError


# ---------------------------------------------------------------------------------------- canvases
@pytest.fixture(scope="module")
def canvases():
    return load_datasets(DataConfig(name="canvas", source="digits", count=200))


def test_a_canvas_is_the_same_for_its_index_and_draws_from_no_generator(canvases):
    again = load_datasets(DataConfig(name="canvas", source="digits", count=200))
    state = torch.get_rng_state(), np.random.get_state()[1].tolist()
    for split, other in zip(canvases, again, strict=True):
        for index in (3, 0):
            assert all(torch.equal(a, b) for a, b in zip(split[index], other[index], strict=True))
    assert torch.equal(torch.get_rng_state(), state[0])
    assert np.random.get_state()[1].tolist() == state[1]
    assert not torch.equal(canvases.train[0][0], canvases.validation[0][0])


def test_masks_are_exact(canvases):
    """Every pasted pixel is of one of the split's objects, at one place, under later ones."""
    assert [len(part) for part in canvases] == [144, 16, 40]
    assert canvases.train.classes == ["background", *"0123456789"]
    counts = set()
    for index in range(20):
        image, mask = canvases.train[index]
        assert image.shape == (1, 64, 64) and mask.shape == (64, 64)
        assert image.dtype == mask.dtype == torch.uint8 and mask.max() <= 10
        ground = image[0][mask == 0]
        assert ground.min() >= 20 and ground.max() <= 140
        assert image[0][mask > 0].min() >= round(0.6 * FOREGROUND) - 1
        counts.add(len(mask.unique()) - 1)
    assert {1, 2, 3} <= counts <= {1, 2, 3, 4}


def test_as_many_objects_lie_on_a_canvas_as_are_asked_for():
    data = load_datasets(DataConfig(name="canvas", source="digits", count=200, objects=2)).train
    assert {len(data[index][1].unique()) - 1 for index in range(20)} == {1, 2}


def test_one_object_alone_is_where_its_mask_says(canvases):
    data = canvases.test
    solid = {tuple((image[0] >= FOREGROUND).flatten().tolist()) for image, _ in objects(data)}
    for mask in (data[index][1] for index in range(len(data))):
        if len(mask.unique()) != 2:
            continue
        windows = (mask > 0).unfold(0, 32, 1).unfold(1, 32, 1).reshape(-1, 32 * 32)
        full = windows[windows.sum(1) == (mask > 0).sum()]
        if any(tuple(window.tolist()) in solid for window in full):
            return
    raise AssertionError("no canvas shows an object of its split")


def objects(dataset):
    return [dataset.objects[i] for i in range(len(dataset.objects))]


def test_objects_of_the_splits_are_disjoint_and_test_never_changes(canvases):
    drawn = [{image.numpy().tobytes() for image, _ in objects(part)} for part in canvases]
    assert not drawn[0] & drawn[1] and not drawn[0] & drawn[2] and not drawn[1] & drawn[2]
    other = load_datasets(DataConfig(name="canvas", source="digits", count=200, split_seed=1))
    assert torch.equal(other.test[5][0], canvases.test[5][0])
    assert not torch.equal(other.train[5][0], canvases.train[5][0])


@pytest.mark.parametrize(
    "options, said",
    [
        ({"image_size": 40}, "data.image_size=40: a canvas has 48 pixels a side or more"),
        ({"count": 4}, "data.count=4: 3 canvases for training, 0 for validation and 1 for testing"),
        ({"count": 100, "train_size": 73}, "data.train_size=73: data.count=100 makes 72 training"),
    ],
)
def test_canvases_that_cannot_be(options, said):
    with pytest.raises(ConfigError, match=said):
        load_datasets(DataConfig(name="canvas", source="digits", **options))
    with pytest.raises(ConfigError, match=r"data.source='mnist' is not known"):
        DataConfig(source="mnist")


def test_the_default_is_real_mnist_and_any_workers_make_the_same_batches():
    config = load_config("cifar", ["data=canvas", "data.count=200", "trainer.batch_size=16"])
    splits = admit(load_datasets(config.data), config)
    info = describe_images(splits.train, config.data)
    assert (info.image_size, info.channels, len(info.class_names)) == (64, 1, 11)
    recipe = mask_recipe(info, AugmentConfig(horizontal_flip=True, rotation=10, crop_padding=4))
    made = []
    for workers in (0, 1):
        loader = TrainLoader(
            splits.train, recipe, batch_size=16, accumulation=1, sampling=Sampling.of(3), rank=0,
            world_size=1, workers=workers,
        )  # fmt: skip
        made.append(next(loader.epoch(0)))
        loader.close()
    (images, masks), (others, other_masks) = made[0][0], made[1][0]
    assert torch.equal(images, others) and torch.equal(masks, other_masks)
    assert images.shape == (16, 1, 64, 64) and masks.dtype == torch.int64


# -------------------------------------------------------------------------------------------- pets
def write_pets(root, trainval=10, test=4):
    folder = root / "oxford-iiit-pet"
    for part, first, count in (("trainval", 0, trainval), ("test", trainval, test)):
        lines = []
        for number in range(first, first + count):
            breed = number % 2
            name = f"{('Abyssinian', 'beagle')[breed]}_{number}"
            picture(folder / "images" / f"{name}.jpg", (12, 9), number)
            trimap = mask_of([1, 2, 3], (12, 9), number)
            save(folder / "annotations" / "trimaps" / f"{name}.png", trimap)
            lines.append(f"{name} {breed + 1} {breed + 1} 1")
        (folder / "annotations" / f"{part}.txt").write_text("\n".join(lines) + "\n")
    return folder


def test_pets_are_three_classes_of_the_trimap(tmp_path, no_network):
    folder = write_pets(tmp_path)
    splits = load_datasets(DataConfig(name="pets", root=str(tmp_path)))
    assert [len(part) for part in splits] == [9, 1, 4] and not no_network
    assert splits.train.classes == ["background", "pet", "border"]
    image, mask = splits.test[1]
    stored = np.asarray(Image.open(folder / "annotations/trimaps/beagle_11.png"))
    assert np.array_equal(mask.numpy(), np.array([9, 1, 0, 2])[stored]) and image.size == (12, 9)
    (folder / "annotations/trimaps/beagle_11.png").unlink()
    with pytest.raises(DataError, match=r"annotations/trimaps/beagle_11.png is missing"):
        load_datasets(DataConfig(name="pets", root=str(tmp_path)))


# ------------------------------------------------------------------------------------------- brain
def stub(shape=(40, 44, 140)):
    """A ball of white matter in grey matter in fluid, as nilearn would give it."""
    axes = [np.linspace(-1, 1, side) for side in shape]
    radius = np.sqrt(sum(axis**2 for axis in np.meshgrid(*axes, indexing="ij")))
    images = {
        "template": np.clip(1 - radius, 0, 1) * (radius < 1),
        "gm_template": (radius > 0.4) & (radius < 0.8),
        "wm_template": radius <= 0.4,
        "brain_mask": radius < 1,
    }
    made = types.ModuleType("nilearn.datasets")
    for name, values in images.items():
        image = types.SimpleNamespace(dataobj=values.astype(np.float32))
        setattr(made, f"load_mni152_{name}", lambda resolution, image=image: image)
    return made


@pytest.fixture
def brain(monkeypatch):
    monkeypatch.setitem(sys.modules, "nilearn.datasets", stub())


def test_slices_are_square_and_their_slabs_are_apart(brain, monkeypatch):
    seen, cut = {}, module._slabs
    monkeypatch.setattr(module, "_slabs", lambda *args: seen.setdefault("slabs", cut(*args)))
    splits = load_datasets(DataConfig(name="mni152"))
    slabs = sorted((*slab, split) for split, each in seen["slabs"].items() for slab in each)
    assert len(slabs) == 9
    assert all(b[0] - a[1] == GAP for a, b in pairwise(slabs))
    image, mask = splits.train[len(splits.train) // 2]
    assert image.shape == (1, 44, 44) and mask.shape == (44, 44)
    assert set(mask.unique().tolist()) == {0, 1, 2, 3}
    assert splits.train.classes[:2] == ["background", "grey matter"]
    assert (image[0][mask == 2].min() > image[0][mask == 3].max()) and image[0][
        mask == 0
    ].max() == 0
    info = describe_images(splits.train, DataConfig())
    assert (info.image_size, info.native_size, info.ndim) == (128, 44, 2)


def test_cubes_are_volumes_for_the_loader(brain):
    config = DataConfig(name="mni152", ndim=3, image_size=16)
    splits = load_datasets(config)
    image, mask = splits.train[0]
    assert image.shape == (1, 16, 16, 16) and mask.shape == (16, 16, 16)
    assert len(splits.train) > len(splits.validation) > 0 and len(splits.test) > 0
    info = describe_images(splits.train, config)
    assert (info.ndim, info.image_size, info.channels) == (3, 16, 1)
    recipe = mask_recipe(info)
    images, masks = next(
        iter(EvaluationLoader(splits.test, recipe, batch_size=2, rank=0, world_size=1))
    )
    assert images.shape == (2, 1, 16, 16, 16) and masks.shape == (2, 16, 16, 16)
    assert abs(float(images.mean())) < 3 and masks.dtype == torch.int64
    with pytest.raises(ConfigError, match=r"data.image_size=50: .* hold cubes of at most 43; use"):
        load_datasets(DataConfig(name="mni152", ndim=3, image_size=50))
    with pytest.raises(ConfigError, match=r"data.image_size=4: a cube has 8 voxels a side or more"):
        load_datasets(DataConfig(name="mni152", ndim=3, image_size=4))


def test_without_nilearn_the_line_is_named_that_installs_it(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == "nilearn" else find(name)
    )
    with pytest.raises(
        DataError, match=r"needs the package nilearn, .* python -m pip install nile"
    ):
        load_datasets(DataConfig(name="mni152"))


@pytest.mark.slow
def test_the_real_template_has_four_tissues():
    pytest.importorskip("nilearn")
    splits = load_datasets(DataConfig(name="mni152"))
    image, mask = splits.train[len(splits.train) // 2]
    assert image.shape == (1, 233, 233)
    means = [image[0][mask == tissue].float().mean() for tissue in range(4)]
    assert means[0] < means[3] < means[1] < means[2]  # background, fluid, grey, white


# ----------------------------------------------------------------------------- published trainings
@pytest.mark.parametrize("name, side", [("busi", 256), ("cvc_clinicdb", 256), ("glas", 512)])
def test_published_trainings_change_images_and_masks_as_told(name, side):
    folder = CONFIG_DIR / "experiment"
    own = yaml.safe_load((folder / f"ukagnet_{name}.yaml").read_text())
    shared = yaml.safe_load((folder / "_published_medical.yaml").read_text())
    assert own["defaults"] == ["_published_medical"]
    assert {"override /data": "mask_folder"} in shared["defaults"]
    cfg = build_group(DataConfig, {"name": "mask_folder", **own["data"]}, "data")
    augment = build_group(AugmentConfig, shared["augment"], "augment")
    masks = {"targets": "mask", "class_names": ("background", "foreground")}
    info = ImageInfo(3, cfg.image_size, (0.5,) * 3, (0.2,) * 3, None, **masks)
    image = torch.zeros(3, 40, 60, dtype=torch.uint8)
    moved, mask = mask_recipe(info, augment).prepare(image, image[0])
    assert moved.shape == (3, side, side) and mask.shape == (side, side)
