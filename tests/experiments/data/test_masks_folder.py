"""Folders of images and masks: layouts that are read, and what is said of those that are wrong."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from mask_data import mask_of, picture, save, write_pairs
from PIL import Image

from experiments.config.augment import AugmentConfig
from experiments.config.compose import load_config
from experiments.config.data import DataConfig
from experiments.data import describe_images, load_datasets
from experiments.data.admit import admit
from experiments.data.mask_table import MaskTable
from experiments.data.mask_transforms import mask_recipe
from experiments.errors import ConfigError, DataError
from experiments.tasks.classification import Classification


def load(root, **options):
    return load_datasets(DataConfig(name="mask_folder", root=str(root), **options))


def test_binary_masks_need_no_table(tmp_path):
    write_pairs(tmp_path)
    splits = load(tmp_path)
    assert [len(part) for part in splits] == [7, 1, 2]
    assert splits.train.classes == ["background", "foreground"]
    image, mask = splits.test[0]
    assert image.size == (12, 8) and mask.shape == (8, 12) and mask.dtype == torch.uint8
    stem = splits.test.base.locate(int(splits.test.indices[0]))
    wanted = np.asarray(Image.open(stem.replace("images", "masks"))) > 0
    assert np.array_equal(mask.numpy(), wanted)
    info = describe_images(splits.train, DataConfig(image_size=8))
    assert (info.targets, info.ignore_index, info.ndim) == ("mask", None, 2)
    assert info.class_names == ("background", "foreground") and info.preprocessing.stretch


def test_splits_of_directories_are_kept(tmp_path):
    for split, count in (("train", 6), ("val", 2), ("test", 3)):
        write_pairs(tmp_path / split, count)
    assert [len(part) for part in load(tmp_path)] == [6, 2, 3]
    shutil.rmtree(tmp_path / "test")
    with pytest.raises(DataError, match=r"test does not exist; wanted: images/<stem>.png"):
        load(tmp_path)


def test_busi_has_several_masks_of_one_image_which_are_united(tmp_path):
    first, second = (np.zeros((8, 12), np.uint8) for _ in range(2))
    first[:3, :3], second[5:, 9:] = 255, 255
    for kind in ("benign", "normal"):
        for number in range(5):
            stem = f"{kind}/{kind} ({number})"
            picture(tmp_path / f"{stem}.png")
            save(tmp_path / f"{stem}_mask.png", first * (kind == "benign"))
    save(tmp_path / "benign/benign (0)_mask_1.png", second)
    splits = load(tmp_path)
    whole = splits.train.base
    assert len(whole) == 10 and "benign (0).png" in whole.locate(0)
    assert np.array_equal(whole[0][1].numpy(), (first + second) // 255)
    assert np.array_equal(whole[1][1].numpy(), first // 255)
    kinds = ["benign" in whole.locate(int(index)) for index in splits.test.indices]
    assert sorted(kinds) == [False, True]  # balanced over the directories


@pytest.mark.parametrize("mode", ["grey", "palette", "colour", "rgb of equal channels", "16 bits"])
def test_values_and_colours_become_classes_by_the_table(tmp_path, mode):
    colours = [[0, 0, 0], [10, 20, 30], [200, 0, 7]]
    values = [[0, 60, 255], [0, 1, 2], colours, [0, 60, 255], [0, 60, 300]]
    kinds = ["grey", "palette", "colour", "rgb of equal channels", "16 bits"]
    stored = values[kinds.index(mode)]
    wanted = mask_of([0, 1, 2])
    pixels = np.asarray(stored, np.uint16 if mode == "16 bits" else np.uint8)[wanted]
    if mode == "rgb of equal channels":
        pixels = np.repeat(pixels[..., None], 3, -1)
    image = Image.fromarray(pixels)
    if mode == "palette":
        image.putpalette([part for colour in colours for part in colour])
        assert image.mode == "P"
    image.save(tmp_path / "mask.png")
    table = MaskTable.of(dict(zip(["none", "cell", "ignore"], stored, strict=True)))
    codes = table.encode(Image.open(tmp_path / "mask.png"))
    assert np.array_equal(codes, np.array([0, 1, 255])[wanted])
    assert table.names == ("none", "cell") and table.ignore_index == 255
    if mode == "palette":
        by_colour = MaskTable.of(dict(zip("abc", colours, strict=True)))
        assert np.array_equal(by_colour.encode(Image.open(tmp_path / "mask.png")), wanted)


def test_other_is_every_value_that_is_not_named(tmp_path):
    """GlaS numbers its glands."""
    for number in range(8):
        picture(tmp_path / f"train_{number}.bmp")
        save(tmp_path / f"train_{number}_anno.bmp", mask_of([0, 1, 2, 3 + number]))
    with pytest.raises(DataError, match=r"hold the values 0, 1, 2, 3.*background: 0, class1: 1"):
        load(tmp_path)
    splits = load(tmp_path, classes={"background": 0, "gland": "other"})
    assert torch.equal(splits.train[0][1].unique(), torch.tensor([0, 1], dtype=torch.uint8))


# --------------------------------------------------------------------------------------- all wrong
def remove(name):
    return lambda root: (root / name).unlink()


def jpeg_masks(root):
    for number in range(10):
        (root / f"masks/{number:02d}.png").unlink()
        soft = np.linspace(0, 255, 96).reshape(8, 12).astype(np.uint8)
        save(root / f"masks/{number:02d}.jpg", soft, quality=60)


def all_of_one_class(root):
    for number in range(10):
        save(root / f"masks/{number:02d}.png", np.zeros((8, 12), np.uint8))


def emptied(root):
    for path in (root / "images").iterdir():
        path.unlink()


TABLE = {"background": 0, "cell": 255}
WRONG = {
    "a mask without image": (
        lambda root: save(root / "masks/99.png", mask_of([0, 255])),
        {},
        r"the mask .*masks/99.png has no image of the same stem: add the image or take",
    ),
    "an image without mask": (
        remove("masks/03.png"),
        {},
        r"the image .*images/03.png has no mask of the same stem: add it \(of background alone",
    ),
    "another size": (
        lambda root: save(root / "masks/03.png", mask_of([0, 255], (8, 12))),
        {},
        r"masks/03.png is 8 x 12 pixels \(W x H\), and its image .*images/03.png is 12 x 8: resize",
    ),
    "a label outside the table": (
        lambda root: save(root / "masks/03.png", mask_of([0, 7, 255])),
        {"classes": TABLE},
        r"masks/03.png has the value 7 in \d+ of 96 pixels, .*does not name: .*write ignore: 7",
    ),
    "an unreadable mask": (
        lambda root: (root / "masks/03.png").write_text("no picture"),
        {},
        r"cannot read the image .*masks/03.png: its content is no picture that Pillow knows: repl",
    ),
    "a truncated mask": (
        lambda root: (root / "masks/03.png").write_bytes(
            (root / "masks/03.png").read_bytes()[:-30]
        ),
        {},
        r"cannot read the image .*masks/03.png: .* It is damaged or no image: replace or delete",
    ),
    "an unreadable image": (
        lambda root: (root / "images/03.png").write_text("no picture"),
        {},
        r"cannot read the image .*images/03.png: its content is no picture that Pillow knows",
    ),
    "colours without table": (
        lambda root: save(root / "masks/03.png", mask_of([[0, 0, 0], [9, 0, 0]])),
        {},
        r"masks/03.png is a mask in colour, .*data.classes=\{NAME0: \[0, 0, 0\], NAME1: \[9, 0, 0",
    ),
    "no masks": (lambda root: shutil.rmtree(root / "masks"), {}, r"has no directory masks; wanted"),
    "neither directory": (
        lambda root: [shutil.rmtree(root / "masks"), (root / "images").rename(root / "pictures")],
        {},
        r"has no directory masks, and no <stem>_mask files; wanted: images/<stem>",
    ),
    "two of one stem": (
        lambda root: picture(root / "images/03.bmp"),
        {},
        r"images/03.bmp and 03.png have one stem, 03: it is not known which .*; take one away",
    ),
    "no images in their directory": (
        emptied,
        {},
        r"/images is empty: it holds no picture \(\.bmp",
    ),
    "interpolated masks": (
        jpeg_masks,
        {},
        r"the masks hold \d+ values .*: save masks as PNG and resize them by nearest.*0, foregr",
    ),
    "interpolated masks and a table": (
        jpeg_masks,
        {"classes": TABLE},
        r"masks/0\d.jpg has the values .* does not name: save masks as PNG and resize",
    ),
    "one value": (all_of_one_class, {}, r"all masks hold the value 0 alone: a network learns two"),
    "one class of the table": (
        all_of_one_class,
        {"classes": TABLE},
        r"all pixels of all masks are of class background: a network learns two classes or more",
    ),
    "two directories of images": (
        lambda root: (root / "imgs").mkdir(),
        {},
        r"has the directories images and imgs: keep one, rename or move the other",
    ),
    "no folder": (shutil.rmtree, {}, r"dataset 'mask_folder' is not in .*\n.*\n.*data=canvas"),
}  # fmt: skip


@pytest.mark.parametrize("fault", WRONG)
def test_what_lies_wrong_is_named_before_training_in_one_sentence(tmp_path, fault):
    spoil, options, said = WRONG[fault]
    root = tmp_path / "data"
    write_pairs(root)
    load(root, **options)  # right before
    spoil(root)
    with pytest.raises(DataError, match=said) as caught:
        load(root, **options)
    assert fault == "no folder" or "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "classes, said",
    [
        ({"cell": 255}, r"data.classes=\{'cell': 255\}: needs two classes or more"),
        ({"cell": 255, "ignore": 0}, "needs two classes or more"),
        ({"a": 0, "b": 0}, r"has \[0\] twice: a value is of one class"),
        ({"a": 0, "b": [1, 2, 3]}, "mixes grey values with colours"),
        ({"a": 0, "b": 70000}, "data.classes.b=70000: must be a value of the mask files"),
        ({"a": 0, "b": 1.0}, r"data.classes.b=1.0: must be"),
        ({"a": [0, 0], "b": [1, 1]}, r"data.classes.a=\[0, 0\]: must be"),
        ({"a": 0, 1: 1}, "data.classes.1=1: must have a name that is a text"),
    ],
)
def test_a_table_has_rules(classes, said):
    with pytest.raises(ConfigError, match=said):
        DataConfig(name="mask_folder", classes=classes)


def test_tables_are_typed_on_the_command_line_and_belong_to_mask_folder():
    typed = ["data=mask_folder", "data.classes={background: [0, 0, 0], cell: [255, 0, 9]}"]
    assert load_config("cifar", typed).data.classes == {"background": [0] * 3, "cell": [255, 0, 9]}
    with pytest.raises(ConfigError, match=r"data.classes='a': must be a table \{NAME: VALUE\}"):
        load_config("cifar", ["data=mask_folder", "data.classes=a"])
    with pytest.raises(ConfigError, match=r"data.classes=.* a key of data=mask_folder, and of no"):
        load_datasets(DataConfig(classes=TABLE))


# ------------------------------------------------------------------------- the rest of the platform
def test_masks_pass_the_door_and_make_batches(tmp_path):
    write_pairs(tmp_path, 20, size=(16, 16))
    keys = [f"data.root={tmp_path}", "data.image_size=8", "trainer.batch_size=4"]
    config = load_config("cifar", ["data=mask_folder", *keys])
    splits = admit(load_datasets(config.data), config)
    info = describe_images(splits.train, config.data)
    assert (info.image_size, info.channels, info.targets) == (8, 3, "mask")
    recipe = mask_recipe(info, AugmentConfig(horizontal_flip=True, rotation=20))
    images, masks = recipe.finish(
        *recipe.collate([recipe.prepare(*splits.train[i]) for i in (0, 1)])
    )
    assert images.shape == (2, 3, 8, 8) and images.dtype == torch.float32
    assert masks.shape == (2, 8, 8) and masks.dtype == torch.int64 and recipe.check(masks) is None
    masks[1, 2, 3] = 2
    number, said = recipe.check(masks)
    assert number == 1 and "the value 2 in 1 of 64 pixels, but there are 2 classes" in said
    with pytest.raises(DataError, match="have a mask for each image, and the task needs a class"):
        Classification(config, splits)
    cached = load_config("cifar", ["data=mask_folder", *keys, "data.cache=memory"])
    with pytest.raises(
        DataError, match=r"images with masks are decoded at each use; type data.cac"
    ):
        admit(load_datasets(cached.data), cached)


def test_masks_of_ones_own_are_known_by_their_first_and_looked_at_by_the_door():
    config = load_config("cifar", ["trainer.batch_size=2", "data=mask_folder"])
    good = [(torch.zeros(3, 8, 8), torch.zeros(8, 8, dtype=torch.long)) for _ in range(4)]
    splits = admit((good, good, good), config)
    with pytest.raises(DataError, match=r"names 0 classes; .* an attribute classes, or data.num_c"):
        describe_images(splits.train, DataConfig(image_size=8))
    info = describe_images(splits.train, DataConfig(num_classes=3))
    assert info.class_names == ("0", "1", "2") and info.targets == "mask"
    with pytest.raises(
        DataError, match=r"data.crop_ratio=0.9: images with masks are evaluated whol"
    ):
        describe_images(splits.train, DataConfig(num_classes=3, crop_ratio=0.9))
    wrong = [*good[:3], (torch.zeros(3, 8, 8), torch.zeros(1, 8, 8, dtype=torch.long))]
    with pytest.raises(DataError, match=r"test image 3 .*mask of 1 x 8 x 8 .*: give mask\[0\]"):
        admit((good, good, wrong), config)
    floats = [(torch.zeros(3, 8, 8), torch.zeros(8, 8)) for _ in range(4)]
    with pytest.raises(DataError, match=r"a mask of float32: a class is an integer.*mask.long\(\)"):
        admit((floats, good, good), config)
    colours = [(torch.zeros(3, 8, 8), Image.new("RGB", (8, 8))) for _ in range(4)]
    with pytest.raises(DataError, match=r"has as mask a picture of mode RGB: .*data.classes="):
        admit((colours, good, good), config)
