"""Whatever image it is given, load_run's transform makes the pixels that the test split saw."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from experiments.config.data import DataConfig
from experiments.data import EvaluationLoader, describe_images
from experiments.data.containers import Admitted
from experiments.data.images import open_image
from experiments.data.mask_transforms import mask_recipe
from experiments.errors import DataError
from experiments.tasks.classification import class_recipe
from experiments.usage.transform import ImageTransform
from models.description import Description, Preprocessing


class Files:
    """Pictures of all kinds, as PIL images and from the tensors that some files hold."""

    def __init__(self, folder: Path, targets: list) -> None:
        self.paths, self.targets = sorted(folder.iterdir()), targets
        self.classes = ["a", "b"]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int):
        return open_image(self.paths[index]), self.targets[index]


def write_pictures(folder: Path) -> Path:
    random = np.random.default_rng(0)

    def noise(*shape: int) -> np.ndarray:
        return random.integers(0, 256, shape, dtype=np.uint8)

    folder.mkdir()
    Image.fromarray(noise(20, 20, 3)).save(folder / "a_square.png")
    turned = Image.fromarray(noise(30, 20, 3))
    exif = turned.getexif()
    exif[0x112] = 6
    turned.save(folder / "b_turned.jpg", exif=exif)
    Image.fromarray(noise(25, 40, 4), "RGBA").save(folder / "c_transparent.png")
    Image.fromarray(noise(17, 31)).save(folder / "d_grey.png")
    deep = random.integers(0, 65536, (24, 24), dtype=np.uint16)
    Image.fromarray(deep).save(folder / "e_deep.png")
    Image.fromarray(noise(16, 16, 3)).save(folder / "f_exact.png")
    return folder


CONFIGS = [
    DataConfig(image_size=16),
    DataConfig(image_size=16, crop_ratio=0.75, interpolation="bicubic", alpha="black"),
    DataConfig(image_size=24, channels=1),
]


def description_for(info) -> Description:
    shape = (info.channels, info.image_size, info.image_size)
    return Description("vgg", {}, 2, info.channels, shape, "classification",
                       preprocessing=info.preprocessing)  # fmt: skip


@pytest.mark.parametrize("masks, config", [
    *((False, config) for config in CONFIGS),
    *((True, config) for config in CONFIGS if config.crop_ratio is None),
])  # fmt: skip
def test_files_become_the_pixels_of_the_test_split(masks, config, tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "pictures")
    sizes = [(20, 20), (20, 30), (25, 40), (17, 31), (24, 24), (16, 16)]
    targets = [torch.zeros(size, dtype=torch.uint8) for size in sizes] if masks else [0, 1] * 3
    dataset = Admitted(Files(folder, targets), "test", config.alpha)
    info = describe_images(dataset, config)
    recipe = mask_recipe(info) if masks else class_recipe(info, 2, None)
    loader = EvaluationLoader(dataset, recipe, batch_size=6, rank=0, world_size=1)
    ((seen, _),) = list(loader)
    text = description_for(info).to_dict()
    transform = ImageTransform(Description.from_dict(text))
    made = torch.stack([transform(path) for path in sorted(folder.iterdir())])
    assert torch.equal(made, seen)
    assert made.std() > 0.1


@pytest.fixture
def transform() -> ImageTransform:
    rule = Preprocessing(8, 8, "bilinear", (0.5,) * 3, (0.25,) * 3)
    shape = (3, 8, 8)
    return ImageTransform(Description("vgg", {}, 2, 3, shape, "classification", preprocessing=rule))


def test_all_kinds_of_one_image_are_one_input(transform: ImageTransform, tmp_path: Path) -> None:
    array = np.random.default_rng(1).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    image = Image.fromarray(array)
    image.save(tmp_path / "image.png")
    tensor = torch.from_numpy(array).permute(2, 0, 1)
    expected = (tensor / 255 - 0.5) / 0.25
    for given in (image, array, tensor, tmp_path / "image.png", str(tmp_path / "image.png"),
                  array.astype(np.float64) / 255, (array.astype(np.uint16) * 257)):  # fmt: skip
        torch.testing.assert_close(transform(given), expected)
    grey = transform(array[..., 0])
    assert torch.equal(grey[0], grey[2])


@pytest.mark.parametrize("given, words", [
    (np.zeros((3, 8, 8), np.uint8), "its axes must be (H, W) or (H, W, C)"),
    (np.full((8, 8, 3), 7.0), "floats must lie in [0, 1]"),
    (np.array([["a"]]), "pixels are uint8, uint16 or floats"),
    (torch.zeros(2, 3, 8, 8), "of shape (2, 3, 8, 8) is no image"),
    (torch.zeros(3, 8, 8, dtype=torch.bool), "give image.float()"),
    (7, "the int given is no image: give a path"),
    ("absent.png", "absent.png"),
])  # fmt: skip
def test_what_is_no_image_is_a_sentence(transform: ImageTransform, given, words: str) -> None:
    with pytest.raises(DataError) as caught:
        transform(given)
    assert words in str(caught.value)


def test_the_background_of_transparent_images_is_a_part_of_the_rule() -> None:
    rule = Preprocessing(8, 8, "bilinear", (0.0,), (1.0,), alpha="black")
    described = Description("vgg", {}, 2, 1, (1, 8, 8), "classification", preprocessing=rule)
    values = described.to_dict()
    assert values["preprocessing"]["alpha"] == "black"
    again = ImageTransform(Description.from_dict(values))
    assert float(again(Image.new("LA", (8, 8), (255, 0))).max()) == 0.0
    with pytest.raises(ValueError, match="alpha='green': one of white, black, keep"):
        Preprocessing(8, 8, "bilinear", (0.0,), (1.0,), alpha="green")
