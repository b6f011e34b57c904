"""Datasets of the Hugging Face hub, through the package `datasets`, which is optional."""

from __future__ import annotations

import os
from collections.abc import Sequence
from hashlib import blake2b
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from experiments.config.data import DataConfig
from experiments.data.containers import Datasets
from experiments.data.download import missing
from experiments.data.extras import import_extra
from experiments.data.file_images import FileImages, Identity
from experiments.data.imagenet import IMAGENET, TINY_IMAGENET
from experiments.data.known import Published
from experiments.data.listing import SPLIT_NAMES
from experiments.data.splits import complete_splits
from experiments.errors import DataError

HUB: dict[str, Published] = {"imagenet_hub": IMAGENET, "tiny_imagenet_hub": TINY_IMAGENET}
_WANTED = ("a split train and one of " + ", ".join(SPLIT_NAMES["validation"]),)


class HubImages(FileImages):
    """A table of encoded images and class labels. Unlike `datasets` it keeps 16 bits a channel."""

    remedy = "load the dataset again with another data.root"

    def __init__(self, table: Any, image: str, label: str, known: Published) -> None:
        self._table, self._image = table, image
        self._version = blake2b(str(table._fingerprint).encode(), digest_size=7).digest()
        targets = np.asarray(table[label][:], np.int64)
        super().__init__(targets, table.features[label].names, known)

    def open(self, index: int) -> str | BinaryIO:
        cell = self._table[int(index)][self._image]
        return cell["path"] if cell["bytes"] is None else BytesIO(cell["bytes"])

    def locate(self, index: int) -> str:
        return f"row {index} of the hub's table"

    def identify(self, index: int) -> Identity:
        return Identity(str(index).encode(), 0, int.from_bytes(self._version, "little"))


def load_hub(cfg: DataConfig) -> Datasets:
    """ImageNet or Tiny ImageNet by data.root, a name of the hub or a folder `datasets` reads.

    The published validation images are the test split, those of validation are split off train.
    Copies lie where HF_HOME says.

    Raises: DataError if `datasets` is not installed, if the dataset is absent and cannot be
    fetched, or if it has no column of images or of class labels.
    """
    datasets = import_extra("datasets", f"data={cfg.name}")
    local = Path(cfg.root).expanduser().is_dir()
    if not (cfg.download or local or os.environ.get("HF_HUB_OFFLINE")):
        raise DataError(
            f"data.download=false: `datasets` would ask the hub for {cfg.root}. Set "
            "HF_HUB_OFFLINE=1 to read the copies of an earlier run, or give a folder as data.root"
        )
    known = HUB[cfg.name]
    train = _images(datasets, _split(datasets, cfg, ["train"]), known)
    test = _images(datasets, _split(datasets, cfg, SPLIT_NAMES["validation"]), known)
    if train.classes != test.classes:
        raise DataError(f"{cfg.root}: its train and validation splits name other classes")
    return complete_splits(cfg, train, test)


def _split(datasets: Any, cfg: DataConfig, names: Sequence[str]) -> Any:
    """Load the first of these splits that the dataset has."""
    root = Path(cfg.root).expanduser()
    try:
        if (root / "dataset_dict.json").is_file():  # as save_to_disk writes it
            saved = datasets.load_from_disk(str(root))
            return saved[next(name for name in names if name in saved)]
        for name in names[:-1]:
            try:
                return datasets.load_dataset(cfg.root, split=name)
            except ValueError as error:  # what it says of a split that does not exist
                if "split" not in str(error):
                    raise
        return datasets.load_dataset(cfg.root, split=names[-1])
    except Exception as error:  # of the hub, its client, the network and the files: many types
        why = " ".join(str(error).split()) or type(error).__name__
        gated = "; a dataset with terms of use wants them accepted on its page, and hf auth login"
        raise missing(cfg.name, [Path(cfg.root)], _WANTED, f"{why}{gated}") from error


def _images(datasets: Any, table: Any, known: Published) -> HubImages:
    images = [name for name, kind in table.features.items() if isinstance(kind, datasets.Image)]
    labels = [n for n, kind in table.features.items() if isinstance(kind, datasets.ClassLabel)]
    if "label" in labels:
        labels = ["label"]
    if len(images) != 1 or len(labels) != 1:
        raise DataError(
            f"the hub's dataset has the columns {', '.join(table.features)}: the rule is one of "
            "images and one of class labels; rename the one that is meant to `label`"
        )
    encoded = table.cast_column(images[0], datasets.Image(decode=False))
    return HubImages(encoded, images[0], labels[0], known)
