"""Decoded images that are kept: the same pixels, made once, checked, and only if that is right."""

from __future__ import annotations

import functools
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from generated_data import write_deep_png, write_images, write_shards, write_tree
from PIL import Image

from experiments.config.compose import load_config
from experiments.config.data import DataConfig
from experiments.config.schema import Config
from experiments.data import decoded, load_datasets
from experiments.data.admit import admit
from experiments.data.file_images import FileImages
from experiments.data.pixels import channels_of, to_tensor
from experiments.errors import ConfigError, DataError


@functools.cache
def composed() -> Config:
    return load_config("cifar", ["data=folder", "data.image_size=8", "trainer.batch_size=4"])


def admitted(root, get_data=None, **options):
    options = {"root": str(root), "validation_fraction": 0.25, **options}
    config = replace(composed(), data=replace(composed().data, **options))
    return admit(load_datasets(config.data) if get_data is None else get_data(config), config)


def pixels(split) -> list[tuple[torch.Tensor, int]]:
    items = (split[i] for i in range(len(split)))
    return [(to_tensor(image, channels_of(image)), label) for image, label in items]


@pytest.fixture
def opened(monkeypatch) -> list[int]:
    """The indices of images that are decoded from their files."""
    found: list[int] = []
    read = FileImages.__getitem__
    monkeypatch.setattr(
        FileImages, "__getitem__", lambda self, index: (found.append(index), read(self, index))[1]
    )
    return found


@pytest.fixture
def mixed(tmp_path) -> Path:
    """Images of several kinds: colour, grey, with transparency, a palette, 16 bits, turned."""
    root = tmp_path / "images"
    write_tree(root, ["train", "test"], count=6)
    write_images(root / "train" / "ant", 2, mode="L", seed=9)
    Image.new("RGBA", (5, 4), (9, 8, 7, 100)).save(root / "train" / "ant" / "clear.png")
    Image.new("P", (5, 4), 3).save(root / "train" / "ant" / "palette.png")
    write_deep_png(root / "train" / "bee" / "deep.png", np.full((4, 5, 3), 300))
    turned = Image.fromarray(np.arange(60, dtype=np.uint8).reshape(4, 5, 3))
    exif = Image.Exif()
    exif[0x112] = 6
    turned.save(root / "train" / "bee" / "turned.jpg", exif=exif)
    return root


@pytest.mark.parametrize("alpha", ["white", "keep"])
@pytest.mark.parametrize("where", ["memory", "folder"])
def test_kept_images_are_those_of_the_files(tmp_path, monkeypatch, mixed, opened, where, alpha):
    monkeypatch.setattr(decoded, "CHUNK", 5)
    cache = "memory" if where == "memory" else str(tmp_path / "kept")
    plain = admitted(mixed, alpha=alpha)
    kept = admitted(mixed, alpha=alpha, cache=cache)
    expected = [pixels(split) for split in plain]
    opened.clear()
    for split, wanted in zip(kept, expected, strict=True):
        for (image, label), (other, right) in zip(pixels(split), wanted, strict=True):
            assert torch.equal(image, other) and image.dtype == other.dtype and label == right
    names = [kept.train.base.base.locate(i).rpartition("/")[2] for i in opened[: -len(kept.test)]]
    deep = ["deep.png"] if alpha == "keep" else ["palette.png", "deep.png"]
    assert sorted(names) == sorted(deep)  # what 8 bits in grey or colour do not hold; test is not


def test_a_folder_is_filled_once_for_all_who_read_it(tmp_path, monkeypatch, opened, caplog):
    monkeypatch.setattr(decoded, "CHUNK", 5)
    write_tree(tmp_path / "images", ["train", "test"], count=8)
    images, cache = tmp_path / "images", str(tmp_path / "kept")
    first = admitted(images, cache=cache)
    assert "decoding 16 images into" in caplog.text
    (folder,) = (tmp_path / "kept").iterdir()
    assert len(list(folder.glob("[0-9]*.npy"))) == 8  # four chunks, and their tables
    (folder / "00001.table.npy").unlink()  # as if killed in between
    (folder / "00003.npy").write_bytes(b"short")
    caplog.clear()
    again = admitted(images, cache=cache, split_seed=1)
    assert "decoding 6 images into" in caplog.text  # of five and one
    assert [i for i, _ in pixels(again.test)] and len(list((tmp_path / "kept").iterdir())) == 1
    assert len(pixels(first.train)) == 12
    path = first.train.base.base.path(0)
    os.utime(path, ns=(1, 1))
    admitted(images, cache=cache)
    assert len(list((tmp_path / "kept").iterdir())) == 2  # of other images: another folder


def test_damaged_pixels_are_named(tmp_path):
    write_tree(tmp_path / "images", ["train", "test"])
    splits = admitted(tmp_path / "images", cache=str(tmp_path / "kept"))
    (file,) = (tmp_path / "kept").glob("*/00000.npy")
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"00000.npy is damaged: delete .*data.cache=null"):
        pixels(splits.train)


def test_images_of_shards_are_kept_too(tmp_path, opened):
    write_shards(tmp_path, "train", [6, 6])
    write_shards(tmp_path, "test", [4])
    kept = admitted(tmp_path, cache="memory")
    opened.clear()
    for split in kept[:2]:
        assert [label for _, label in pixels(split)] == [int(i) % 3 for i in split.base.indices]
        assert [int(image.max()) for image, _ in pixels(split)] == split.base.indices.tolist()
    assert not opened


def test_what_does_not_fit_is_refused_before_it_is_decoded(tmp_path, monkeypatch, opened):
    write_tree(tmp_path / "images", ["train", "test"])
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    memory = psutil.virtual_memory()._replace(available=4000)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    with pytest.raises(DataError, match=r"of memory for 2 processes.*data.cache=FOLDER"):
        admitted(tmp_path / "images", cache="memory")
    monkeypatch.setattr(decoded.shutil, "disk_usage", lambda path: type("", (), {"free": 10}))
    with pytest.raises(DataError, match=r"on the disk of .*data.cache=ANOTHER_FOLDER"):
        admitted(tmp_path / "images", cache=str(tmp_path / "kept"))


def test_only_images_that_never_change_are_kept(tmp_path, caplog):
    own = [(torch.randint(0, 256, (3, 8, 8), dtype=torch.uint8), i % 2) for i in range(20)]
    with pytest.raises(DataError, match=r"data.cache=memory: list may give another image each"):
        admitted(tmp_path, lambda config: (own, own, own), cache="memory")
    admitted(tmp_path, name="digits", cache="memory")
    assert "the images are in memory already" in caplog.text
    (tmp_path / "file").write_text("")
    write_tree(tmp_path / "images", ["train", "test"])
    with pytest.raises(DataError, match=r"data.cache=.*file/x cannot be written"):
        admitted(tmp_path / "images", cache=str(tmp_path / "file" / "x"))
    with pytest.raises(ConfigError, match=r"data.cache='': must be memory, a folder or null"):
        DataConfig(cache="")
