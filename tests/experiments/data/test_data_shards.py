"""Tar shards: read at random through an index, and named where something is wrong with them."""

from __future__ import annotations

import gzip
import json
import os
import pickle
import re
import shutil
import tarfile

import numpy as np
import pytest
from generated_data import jpeg, write_deep_png, write_shards, write_tar, write_tree

from experiments.config.data import DataConfig
from experiments.data import load_datasets, tar_index
from experiments.data.containers import labels_of, locate
from experiments.data.images import DeepColour
from experiments.errors import DataError


def config(root, name="imagenet", **kwargs) -> DataConfig:
    options = {"validation_fraction": 0.25, "download_dir": str(root) + "-copies", **kwargs}
    return DataConfig(name=name, root=str(root), **options)


def write_both(root) -> None:
    write_shards(root, "train", [5, 1, 6])
    write_shards(root, "val", [4, 3], first=100)


def grey(image) -> int:
    return image.getpixel((3, 3))[0]


# --------------------------------------------------------------------------------------- reading
@pytest.mark.parametrize("name", ["imagenet", "tiny_imagenet"])
def test_samples_lie_where_the_index_says(tmp_path, name):
    write_both(tmp_path)
    splits = load_datasets(config(tmp_path, name))
    assert [len(part) for part in splits] == [9, 3, 7]
    assert splits.train.classes == ["0", "1", "2"] and splits.train.image_size in (64, 224)
    for part, first in ((splits.train, 0), (splits.validation, 0), (splits.test, 100)):
        assert labels_of(part).tolist() == [part[i][1] for i in range(len(part))]
        numbers = [grey(part[i][0]) for i in range(len(part))]
        places = getattr(part, "indices", range(len(part)))
        assert numbers == [first + int(place) for place in places]
        assert [label for _, label in (part[i] for i in range(len(part)))] == [
            n % 3 for n in numbers
        ]
    again = pickle.loads(pickle.dumps(splits.test))  # as for a worker that is not forked
    assert grey(again[6][0]) == 106
    assert locate(splits.test, 5) == f"{tmp_path}/some-val-001.tar: 0105.jpg"


def test_folders_of_splits_and_own_datasets(tmp_path):
    for split in ("train", "test", "valid"):
        write_shards(tmp_path / split, "part", [4, 4])
    splits = load_datasets(config(tmp_path, "folder"))
    assert [len(part) for part in splits] == [8, 8, 8]
    shutil.rmtree(tmp_path / "test")
    with pytest.raises(DataError, match="have no test split"):
        load_datasets(config(tmp_path, "folder"))


def test_class_folders_win_over_archives_beside_them(tmp_path):
    write_tree(tmp_path, ["train", "val"])
    (tmp_path / "ILSVRC2012_img_train.tar").write_text("the archive they came from")
    assert len(load_datasets(config(tmp_path)).test) == 20
    write_tree(tmp_path / "own", [""])
    (tmp_path / "own" / "backup.tar").write_text("an archive")
    assert sum(map(len, load_datasets(config(tmp_path / "own", "folder")))) == 20


def test_labels_may_be_names_or_stand_in_json(tmp_path):
    def sample(key, label):
        return {f"a/{key}.JPEG": jpeg(1), f"a/{key}.json": json.dumps({"label": label}).encode()}

    members = {"notes": b"", "._5.jpg": b"x"}
    for key in range(8):
        members |= sample(key, "ant" if key % 2 else "cat")
    write_tar(tmp_path / "train-0.tar", members)
    write_tar(tmp_path / "val-0.tar", {"1.jpg": jpeg(1), "1.cls": b"cat\n", "1.txt": b"more"})
    splits = load_datasets(config(tmp_path))
    assert splits.train.classes == ["ant", "cat"] and splits.test[0][1] == 1
    write_tar(tmp_path / "val-0.tar", {"1.jpg": jpeg(1), "1.cls": b"cut"})
    os.remove(tmp_path / "val-0.tar.index.json")
    with pytest.raises(DataError, match=r"val-0.tar: 1.jpg has the class 'cut'.*Write the shard"):
        load_datasets(config(tmp_path))
    write_tar(tmp_path / "train-1.tar", {"1.jpg": jpeg(1), "1.cls": b"3"})
    with pytest.raises(DataError, match=r"train-0.tar has names of classes and .*train-1.tar numb"):
        load_datasets(config(tmp_path))


def test_deep_colour_keeps_its_depth(tmp_path):
    values = np.full((4, 4, 3), 300)
    png = write_deep_png(tmp_path / "a.png", values).read_bytes()
    for split in ("train", "val"):
        samples = {f"{i}.{f}": c for i in range(4) for f, c in (("png", png), ("cls", b"0"))}
        write_tar(tmp_path / f"{split}-0.tar", samples)
    image, _ = load_datasets(config(tmp_path)).test[0]
    assert isinstance(image, DeepColour) and int(image.pixels[0, 0, 0]) == 300


def test_patterns_name_many_shards(tmp_path):
    write_both(tmp_path)
    root = f"{tmp_path}/some-train-{{000..002}}.tar::{tmp_path}/some-val-{{000..001}}.tar"
    assert [len(part) for part in load_datasets(config(root))] == [9, 3, 7]
    with pytest.raises(DataError, match=r"no such file: some-val-002.tar"):
        load_datasets(config(root.replace("001", "002")))
    with pytest.raises(DataError, match=r"write the numbers as \{000..146\}"):
        load_datasets(config(f"{tmp_path}/some-train-*.tar"))


# ------------------------------------------------------------------------------------- the index
def test_the_index_is_made_once_and_again_only_if_it_must(tmp_path, monkeypatch, caplog):
    write_both(tmp_path)
    scanned = []
    scan = tar_index.scan
    monkeypatch.setattr(tar_index, "scan", lambda tar: (scanned.append(tar.name), scan(tar))[1])
    first = load_datasets(config(tmp_path))
    assert len(scanned) == 5 and len(list(tmp_path.glob("*.index.json"))) == 5
    load_datasets(config(tmp_path))
    assert len(scanned) == 5
    tar, index = tmp_path / "some-train-001.tar", tmp_path / "some-train-001.tar.index.json"
    os.utime(tar, ns=(1, 1))  # a copy: same content, another time
    assert len(load_datasets(config(tmp_path)).train) == 9 and len(scanned) == 6
    load_datasets(config(tmp_path))
    assert len(scanned) == 6
    index.write_text(index.read_text().replace("0005.jpg", "0009.jpg"))
    again = load_datasets(config(tmp_path))
    assert len(scanned) == 7 and "is damaged or of another version" in caplog.text
    assert [again.test[i][1] for i in range(7)] == [first.test[i][1] for i in range(7)]


def test_an_index_of_another_content_is_refused(tmp_path):
    write_both(tmp_path)
    load_datasets(config(tmp_path))
    tar = write_shards(tmp_path, "train", [4])[0]
    with pytest.raises(DataError, match=re.escape(f"{tar}.index.json is older than") + ".*delete"):
        load_datasets(config(tmp_path))
    os.remove(f"{tar}.index.json")
    assert len(load_datasets(config(tmp_path)).train) == 8


def test_an_index_goes_elsewhere_where_the_shards_cannot_be_written(tmp_path, monkeypatch):
    write_both(tmp_path / "shards")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    cfg = config(tmp_path / "shards")
    assert len(load_datasets(cfg).train) == len(load_datasets(cfg).train) == 9
    assert not list((tmp_path / "shards").glob("*.json"))
    assert len(list((tmp_path / "shards-copies").rglob("*.index.json"))) == 5


# ---------------------------------------------------------------------------------- what is wrong
def cut(path) -> None:
    path.write_bytes(path.read_bytes()[:-10_000])


def cut_at_a_member(path) -> None:
    with tarfile.open(path) as tar:
        end = tar.getmembers()[2].offset
    os.truncate(path, end)


def compress(path) -> None:
    path.write_bytes(gzip.compress(path.read_bytes()))


@pytest.mark.parametrize("damage, words", [
    (cut, r"some-val-000.tar (is no tar file or )?is cut short.*copy or download it again"),
    (cut_at_a_member, r"some-val-000.tar is cut short.*block of zeros"),
    (lambda p: p.write_text("<html>404</html>"), r"some-val-000.tar is no tar file.*download"),
    (compress, r"some-val-000.tar is compressed.*unpack it to a plain tar file"),
    (lambda p: p.rename(p.with_suffix(".tgz")), r"some-val-000.tgz is compressed.*unpack it"),
    (lambda p: write_tar(p, {"a.jpg": jpeg(1)}), r"sample a has no label \(it has .jpg\).*KEY.cls"),
    (lambda p: write_tar(p, {"a.jpg": jpeg(1), "a.cls": b""}), r"sample a has no label"),
    (lambda p: write_tar(p, {"a.jpg": jpeg(1), "a.json": b"[]"}), r"sample a has no label"),
    (lambda p: write_tar(p, {"a.jpg": jpeg(1), "a.cls": b"-1"}), r"a has the label -1.*left out"),
    (lambda p: write_tar(p, {"a.heic": b"x", "a.cls": b"1"}), r"has no image of a known ext.*heic"),
    (lambda p: write_tar(p, {"a.jpg": b"x", "a.png": b"x", "a.cls": b"1"}), r"a has two images"),
    (lambda p: write_tar(p, {}), r"some-val-000.tar holds no sample"),
    (lambda p: p.rename(p.with_name("other.tar")), r"other.tar is of no split by its name"),
    (lambda p: [q.unlink() for q in p.parent.glob("*-val-*")], r"no validation split"),
    (lambda p: (p.parent / "some-train-001.tar").unlink(), r"some-train-001.tar missing.*incompl"),
])  # fmt: skip
def test_what_is_wrong_is_named_before_training(tmp_path, damage, words):
    write_both(tmp_path)
    damage(tmp_path / "some-val-000.tar")
    with pytest.raises(DataError, match=words):
        load_datasets(config(tmp_path))


def test_a_shard_that_shrinks_and_an_image_that_is_none_are_named(tmp_path):
    write_both(tmp_path)
    write_tar(tmp_path / "some-val-001.tar", {"a.jpg": b"no image", "a.cls": b"0"})
    splits = load_datasets(config(tmp_path))
    with pytest.raises(DataError, match=r"some-val-001.tar: a.jpg.*write its shard anew"):
        splits.test[4]
    os.truncate(tmp_path / "some-val-000.tar", 600)
    with pytest.raises(DataError, match=r"some-val-000.tar: 0103.jpg is cut short"):
        splits.test[3]
