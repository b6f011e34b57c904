"""Folders as people have them: clutter, links, other names of splits, other files."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from generated_data import write_images, write_tree
from PIL import Image
from torchvision.datasets import ImageFolder

from experiments.config.data import DataConfig
from experiments.data import Datasets, load_datasets
from experiments.data.containers import labels_of
from experiments.data.listing import EXTENSIONS, list_images
from experiments.errors import DataError


def load(root: Path, **kwargs) -> Datasets:
    return load_datasets(DataConfig(name="folder", root=str(root), **kwargs))


def counts(root: Path) -> tuple[int, int]:
    """Images to learn from (train and validation), and of test."""
    train, validation, test = load(root)
    return len(train) + len(validation), len(test)


def test_the_order_is_that_of_torchvision(tmp_path: Path) -> None:
    write_tree(tmp_path, [""], classes=("b", "a", "c-d", "c"))
    for inner in ("z", "a b", "a-b", "deep/er"):
        write_images(tmp_path / "a" / inner, 3)
    listing = list_images(tmp_path, ["a", "b", "c", "c-d"])
    assert listing.samples == ImageFolder(str(tmp_path)).samples and not listing.passed


# ----------------------------------------------------------------------------------------- clutter
def hidden_copies(root: Path) -> None:
    copies = root / "train" / "ant" / ".ipynb_checkpoints"
    copies.mkdir()
    for path in (root / "train" / "ant").glob("*.png"):
        shutil.copy(path, copies / f"{path.stem}-checkpoint.png")


def add(path: str, content: bytes = b"x") -> Callable[[Path], object]:
    def make(root: Path) -> None:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)

    return make


@pytest.mark.parametrize(
    "make",
    [
        hidden_copies,
        add("train/ant/._000.png"),
        add("train/ant/.DS_Store"),
        add("train/ant/Thumbs.db"),
        add("train/bee/deep/desktop.ini"),
        add("train/__MACOSX/ant/000.png"),
        add("train/ant/@eaDir/000.png"),
        add("test/.hidden/000.png"),
        add(".git/HEAD"),
        add("__MACOSX/train/ant/000.png"),
    ],
)
def test_clutter_is_neither_an_image_nor_a_class_nor_a_word(tmp_path, make, caplog) -> None:
    write_tree(tmp_path, ["train", "test"])
    make(tmp_path)
    assert counts(tmp_path) == (20, 20) and load(tmp_path).train.classes == ["ant", "bee"]
    assert not caplog.records


# ------------------------------------------------------------------------------------------- links
def link(name: str, to: str) -> Callable[[Path], object]:
    return lambda root: (root / name).symlink_to(root / to)


@pytest.mark.parametrize(
    "make",
    [
        link("train/ant/up", "train"),
        link("train/ant/self", "train/ant"),
        link("train/ant/top", ""),
        link("train/loop", "train"),
        lambda root: os.symlink("itself", root / "train" / "ant" / "itself"),
    ],
)
def test_links_that_lead_back_multiply_nothing(tmp_path, make) -> None:
    write_tree(tmp_path, ["train", "test"])
    make(tmp_path)
    splits = load(tmp_path)
    assert counts(tmp_path) == (20, 20) and splits.train.classes == ["ant", "bee"]
    assert np.bincount(labels_of(splits.test)).tolist() == [10, 10]


def test_a_directory_linked_twice_counts_once(tmp_path: Path) -> None:
    write_tree(tmp_path / "set", ["train", "test"])
    write_images(tmp_path / "more", 5)
    for name in ("first", "second"):
        (tmp_path / "set" / "train" / "ant" / name).symlink_to(tmp_path / "more")
    assert counts(tmp_path / "set") == (25, 20)


@pytest.mark.parametrize("where", ["train/ant/other", "train/wasp"])
def test_a_directory_of_two_classes_is_refused(tmp_path: Path, where: str) -> None:
    write_tree(tmp_path, ["train", "test"])
    (tmp_path / where).symlink_to(tmp_path / "train" / "bee")
    with pytest.raises(DataError, match="of class 'bee': its images would have two labels"):
        load(tmp_path)


# ---------------------------------------------------------------------------------- names of splits
@pytest.mark.parametrize("train", ["Train", "training", "TRAINING"])
@pytest.mark.parametrize("validation", ["val", "Valid", "validation", "dev"])
@pytest.mark.parametrize("test", ["TEST", "testing"])
def test_splits_are_known_by_their_usual_names(tmp_path, train, validation, test) -> None:
    write_tree(tmp_path, [train, validation, test], count=2)
    assert [len(part) for part in load(tmp_path)] == [4, 4, 4]


def test_two_names_for_one_split_are_refused(tmp_path: Path) -> None:
    write_tree(tmp_path, ["train", "val", "validation", "test"], count=2)
    with pytest.raises(DataError, match="the validation split, val and validation: keep one"):
        load(tmp_path)


def test_classes_may_be_called_valid_and_invalid(tmp_path: Path) -> None:
    write_tree(tmp_path, [""], classes=("valid", "invalid"))
    assert load(tmp_path).train.classes == ["invalid", "valid"]


def test_directories_beside_the_splits_are_told(tmp_path: Path, caplog) -> None:
    write_tree(tmp_path, ["train", "test", "extra"], count=5)
    assert counts(tmp_path) == (10, 10)
    assert "passed over the directories extra" in caplog.text


# -------------------------------------------------------------------------------------- other files
@pytest.mark.parametrize("extension", [e for e in EXTENSIONS if e != ".dib"] + [".TIFF", ".TIF"])
def test_every_known_extension_can_be_read(tmp_path: Path, extension: str) -> None:
    picture = Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3))
    mode = {".pbm": "1", ".pgm": "L"}.get(extension, "RGB")
    format_ = {".pnm": "PPM", ".jfif": "JPEG"}.get(extension)
    for folder in ("ant", "bee"):
        write_images(tmp_path / folder, 9)
        picture.convert(mode).save(tmp_path / folder / f"x{extension}", format=format_)
    splits = load(tmp_path)
    assert sum(len(part) for part in splits) == 20
    assert {image.size for part in splits for image, _ in (part[i] for i in range(len(part)))} == {
        (8, 8)
    }


def test_of_an_animation_the_first_picture_is_read(tmp_path: Path) -> None:
    frames = [Image.new("L", (8, 8), shade) for shade in (10, 200)]
    for folder in ("ant", "bee"):
        write_images(tmp_path / folder, 9)
        path = tmp_path / folder / "a.webp"
        frames[0].save(path, lossless=True, save_all=True, append_images=frames[1:])
    base = load(tmp_path).train.base
    (index,) = (i for i in range(len(base)) if str(base.path(i)).endswith("ant/a.webp"))
    assert base[index][0].convert("L").getpixel((3, 3)) == 10


def test_files_passed_over_are_counted_by_extension(tmp_path: Path, caplog) -> None:
    write_tree(tmp_path, ["train", "test"])
    names = ["ant/a.heic", "ant/b.HEIC", "bee/c.heic", "ant/a.gif", "bee/notes.txt", "bee/Makefile"]
    for name in names:
        (tmp_path / "train" / name).write_text("x")
    write_images(tmp_path / "test", 1)
    assert counts(tmp_path) == (20, 20)
    train, test = (r.getMessage() for r in caplog.records[:2])
    assert train.startswith("passed over 3 .heic, 1 .gif, 1 .txt, 1 without extension in ")
    assert train.count(".webp") == 1 and str(tmp_path / "train") in train
    assert test.startswith("passed over 1 .png outside class folders in ")


def test_a_directory_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch) -> None:
    write_tree(tmp_path, ["train", "test"])
    scan = os.scandir

    def refuse(folder):
        if str(folder).endswith("bee"):
            raise PermissionError(13, "Permission denied")
        return scan(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(
        DataError, match=r"cannot read the directory .*train/bee: Permission denied"
    ):
        load(tmp_path)
