"""Class folders, Tiny ImageNet and ImageNet layouts, and files that are no images."""

from __future__ import annotations

import re

import numpy as np
import pytest
from generated_data import write_images, write_tree
from PIL import Image

from experiments.config.data import DataConfig
from experiments.data import describe_images, load_datasets
from experiments.data.containers import labels_of
from experiments.errors import DataError
from experiments.tasks.classification import class_names


def folder_config(root, **kwargs) -> DataConfig:
    return DataConfig(name="folder", root=str(root), **kwargs)


def paths_of(dataset) -> set[str]:
    return {str(dataset.base.path(int(i))) for i in dataset.indices}


def test_train_and_test_folders_with_validation_split_off(tmp_path):
    write_tree(tmp_path, ["train", "test"])
    splits = load_datasets(folder_config(tmp_path))
    assert [len(part) for part in splits] == [18, 2, 20]
    assert splits.train.classes == ["ant", "bee"]
    assert np.bincount(labels_of(splits.validation)).tolist() == [1, 1]
    assert not paths_of(splits.train) & paths_of(splits.validation)
    image, label = splits.test[12]
    assert isinstance(image, Image.Image) and image.getpixel((0, 0))[0] == 2 and label == 1


def test_a_validation_folder_is_used_as_it_is(tmp_path):
    write_tree(tmp_path, ["train", "val", "test"])
    assert [len(part) for part in load_datasets(folder_config(tmp_path))] == [20, 20, 20]


def test_class_folders_alone_give_a_fifth_as_test(tmp_path):
    write_tree(tmp_path, [""])
    splits = load_datasets(folder_config(tmp_path, validation_fraction=0.25))
    assert [len(part) for part in splits] == [12, 4, 4]
    assert np.bincount(labels_of(splits.test)).tolist() == [2, 2]
    parts = [paths_of(part) for part in (splits.train, splits.test)]
    assert not parts[0] & parts[1]


def test_labels_follow_train_when_a_split_lacks_a_class(tmp_path):
    write_tree(tmp_path, ["train"], classes=("ant", "bee", "cat"))
    write_tree(tmp_path, ["test"], classes=("cat",))
    assert set(labels_of(load_datasets(folder_config(tmp_path)).test)) == {2}


def test_other_files_and_hidden_directories_are_passed_over(tmp_path):
    write_tree(tmp_path, [""])
    (tmp_path / "ant" / "notes.txt").write_text("not an image")
    (tmp_path / "ant" / "Thumbs.db").write_bytes(b"\x00")
    (tmp_path / ".ipynb_checkpoints").mkdir()
    splits = load_datasets(folder_config(tmp_path))
    assert sum(len(part) for part in splits) == 20 and splits.train.classes == ["ant", "bee"]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda root: None, "holds no class directories; wanted: train/<class>/<image>"),
        (lambda root: (root / "ant").mkdir(), "holds no image"),
        (lambda root: write_tree(root, ["train"]), "/test does not exist; wanted"),
        (lambda root: write_tree(root, ["train", "val"]), "val that is to be the test split"),
        (lambda root: write_tree(root, ["test"]), "/train does not exist"),
    ],
)
def test_another_layout_is_refused_with_the_one_wanted(tmp_path, make, said):
    make(tmp_path)
    with pytest.raises(DataError, match=re.escape(said)) as caught:
        load_datasets(folder_config(tmp_path))
    assert str(tmp_path) in str(caught.value)


def test_an_empty_class_folder_is_named_and_kept_out(tmp_path, caplog):
    write_tree(tmp_path, ["train", "test"])
    for split in ("train", "test"):
        (tmp_path / split / "aaa").mkdir()
    splits = load_datasets(folder_config(tmp_path))
    assert splits.train.classes == ["ant", "bee"] == splits.test.classes
    assert set(labels_of(splits.test)) == {0, 1}
    assert "no image in the class directories aaa of" in caplog.text and len(caplog.records) == 1
    write_images(tmp_path / "test" / "aaa", 1)
    with pytest.raises(DataError, match="test/aaa is a class that the training images do not have"):
        load_datasets(folder_config(tmp_path))


def test_a_class_unknown_to_train_is_named_with_the_nearest(tmp_path):
    write_tree(tmp_path, ["train"])
    write_tree(tmp_path, ["test"], classes=("ant", "beee"))
    with pytest.raises(DataError, match=r"test/beee is a class .* did you mean 'bee'"):
        load_datasets(folder_config(tmp_path))


# ------------------------------------------------------------------------------- known layouts
def write_tiny_imagenet(root) -> None:
    for number, wnid in enumerate(("n02", "n01")):
        write_images(root / "train" / wnid / "images", 10, (64, 64), seed=number)
        (root / "train" / wnid / f"{wnid}_boxes.txt").write_text("x")
    write_images(root / "val" / "images", 6, (64, 64))
    lines = [f"{i:03d}.png\tn0{1 + i % 2}\t0\t0\t9\t9" for i in range(6)]
    (root / "val" / "val_annotations.txt").write_text("\n".join(lines) + "\n")
    (root / "words.txt").write_text("n01\tgoldfish, Carassius\nn02\ttree frog\nn03\tother\n")


@pytest.mark.parametrize("place", ["tiny-imagenet-200", "."])
def test_tiny_imagenet_as_published(tmp_path, place):
    write_tiny_imagenet(tmp_path / place)
    cfg = DataConfig(name="tiny_imagenet", root=str(tmp_path))
    splits = load_datasets(cfg)
    assert [len(part) for part in splits] == [18, 2, 6]
    assert labels_of(splits.test).tolist() == [0, 1] * 3  # from val_annotations.txt
    info = describe_images(splits.train, cfg)
    assert class_names(splits.train, cfg) == ("goldfish", "tree frog")
    assert (info.image_size, info.native_size) == (64, 64)


def test_tiny_imagenet_with_wrong_annotations_is_refused(tmp_path):
    write_tiny_imagenet(tmp_path)
    path = tmp_path / "val" / "val_annotations.txt"
    path.write_text("000.png\tn09\t0\t0\t9\t9\n")
    cfg = DataConfig(name="tiny_imagenet", root=str(tmp_path))
    with pytest.raises(DataError, match=re.escape(str(path)) + r".*names no class of train"):
        load_datasets(cfg)


@pytest.mark.parametrize("damage, words", [
    (lambda r: (r / "val/val_annotations.txt").unlink(), r"val_annotations.txt does not exist"),
    (lambda r: (r / "val/images/003.png").unlink(), r"val/images lacks 1 of the 6 .*: 003.png\."),
    (lambda r: (r / "wnids.txt").write_text("n01\nn02\nn09"), r"train has no images of n09, which"),
    (lambda r: [p.unlink() for p in (r / "train").rglob("*.png")], r"train holds no image"),
])  # fmt: skip
def test_an_incomplete_tiny_imagenet_is_named(tmp_path, no_network, damage, words):
    write_tiny_imagenet(tmp_path)
    damage(tmp_path)
    with pytest.raises(DataError, match=words):
        load_datasets(DataConfig(name="tiny_imagenet", root=str(tmp_path)))
    assert not no_network


def test_imagenet_without_validation_images_says_so(tmp_path):
    write_tree(tmp_path, ["train"])
    with pytest.raises(DataError, match=rf"\({tmp_path}/val does not exist\)\nExpected there"):
        load_datasets(DataConfig(name="imagenet", root=str(tmp_path)))


@pytest.mark.parametrize("place", ["imagenet", "."])
def test_imagenet_uses_its_validation_images_as_test(tmp_path, place):
    write_tree(tmp_path / place, ["train", "val"], size=(40, 30))
    cfg = DataConfig(name="imagenet", root=str(tmp_path))
    splits = load_datasets(cfg)
    assert [len(part) for part in splits] == [18, 2, 20]
    info = describe_images(splits.train, cfg)
    assert (info.image_size, info.native_size) == (224, None)
    assert info.mean == (0.485, 0.456, 0.406)


# ------------------------------------------------------------------------------ damaged images
def cut_short(path) -> None:
    path.write_bytes(path.read_bytes()[:60])


@pytest.mark.parametrize(
    "damage", [cut_short, lambda p: p.write_bytes(b""), lambda p: p.write_text("<html>")]
)
def test_an_image_that_cannot_be_read_is_named(tmp_path, damage):
    write_tree(tmp_path, [""])
    splits = load_datasets(folder_config(tmp_path))
    path = splits.train.base.path(int(splits.train.indices[0]))
    damage(path)
    with pytest.raises(DataError, match=re.escape(str(path)) + r".*replace or delete it"):
        splits.train[0]
