"""The datasets by name. Add a function to DATASETS and its name works as data.name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits as sklearn_digits
from torchvision.datasets import CIFAR10, CIFAR100, MNIST, FashionMNIST
from torchvision.datasets.utils import check_integrity
from torchvision.transforms.v2 import functional as F

from experiments.config.data import DataConfig
from experiments.data.brain import load_mni152
from experiments.data.canvas import SOURCE, make_canvases
from experiments.data.containers import Datasets, TensorImages
from experiments.data.download import Source, damaged, ensure_present
from experiments.data.folders import load_folder
from experiments.data.hub import load_hub
from experiments.data.idx import IDX_FILES, has_idx_files, read_idx_images
from experiments.data.imagenet import load_imagenet, load_tiny_imagenet
from experiments.data.ink import with_ink
from experiments.data.known import Published
from experiments.data.mask_folder import load_mask_folder
from experiments.data.mnist5k import load_mnist5k
from experiments.data.pets import load_pets
from experiments.data.splits import complete_splits, split_off_test
from experiments.errors import ConfigError, DataError, nearest

DIGITS_SIZE = 32

# Statistics of the 50,000 training images, as commonly published.
_CIFAR = {
    "cifar10": (CIFAR10, Published((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616), 32)),
    "cifar100": (CIFAR100, Published((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762), 32)),
}
_IDX: dict[str, type[MNIST]] = {"mnist": MNIST, "fashion_mnist": FashionMNIST}


def load_cifar(cfg: DataConfig) -> Datasets:
    """CIFAR-10 or CIFAR-100 in torchvision's layout, downloaded if absent, held in memory.

    Raises: DataError if it is absent and cannot be fetched, or if a file is damaged.
    """
    reader, known = _CIFAR[cfg.name]
    root = Path(cfg.root).expanduser()
    checksums = dict([*reader.train_list, *reader.test_list])
    checksums[reader.meta["filename"]] = reader.meta["md5"]
    files = {root / reader.base_folder / file: md5 for file, md5 in checksums.items()}
    source = Source(
        cfg.name,
        root,
        expected=[f"{reader.base_folder}/{file}" for file in checksums],
        looked_in=[root],
        present=lambda: all(file.is_file() for file in files),
        fetch=lambda: reader(str(root), download=True),
        archive=(root / reader.filename, reader.tgz_md5),
    )
    ensure_present(source, cfg.download)
    try:
        parts = [_from_cifar(reader(str(root), train=train), known) for train in (True, False)]
    except RuntimeError as error:  # torchvision does not say which file fails its checksum
        wrong = next((file for file, md5 in files.items() if not check_integrity(file, md5)), None)
        raise damaged(wrong or root / reader.base_folder, error) from error
    return complete_splits(cfg, *parts)


def _from_cifar(source: CIFAR10, known: Published) -> TensorImages:
    images = torch.from_numpy(source.data).permute(0, 3, 1, 2).contiguous()
    return TensorImages(images, torch.tensor(source.targets), source.classes, known)


def load_idx(cfg: DataConfig) -> Datasets:
    """MNIST or Fashion-MNIST from their four idx files, downloaded if absent, held in memory.

    The files, compressed or not, lie in root/MNIST/raw or root/FashionMNIST/raw (torchvision's
    place), in root/<name>, or in root itself.

    Raises: DataError if they are absent and cannot be fetched, or if one is damaged.
    """
    reader = _IDX[cfg.name]
    root = Path(cfg.root).expanduser()
    places = [root / reader.__name__ / "raw", root / cfg.name, root]

    def find() -> Path | None:
        return next((place for place in places if has_idx_files(place)), None)

    source = Source(
        cfg.name,
        root,
        expected=[f"{name}[.gz]" for name in IDX_FILES],
        looked_in=places,
        present=lambda: find() is not None,
        fetch=lambda: reader(str(root), download=True),
    )
    ensure_present(source, cfg.download)
    place = find()
    assert place is not None
    train, test = (read_idx_images(place, part, reader.classes) for part in ("train", "t10k"))
    return complete_splits(cfg, train, test)


def load_digits(cfg: DataConfig) -> Datasets:
    """The 1,797 handwritten digits that scikit-learn ships: 8 x 8 pixels brought to 32 x 32.

    A stratified 20 % is the test split, the same in every run.
    """
    digits = sklearn_digits()
    images = torch.from_numpy(digits.images * (255 / 16)).round().to(torch.uint8)
    images = F.resize(images.unsqueeze(1), [DIGITS_SIZE, DIGITS_SIZE], antialias=True)
    targets = torch.from_numpy(digits.target.astype(np.int64))
    data = TensorImages(images, targets, [str(label) for label in range(10)])
    return complete_splits(cfg, *split_off_test(data))


def load_canvas(cfg: DataConfig) -> Datasets:
    """Objects of data.source on textured canvases, with exact masks: see experiments.data.canvas.

    Raises: DataError if the source is absent; ConfigError for too small or too few canvases.
    """
    own = ("image_size", "train_size", "source", "count", "objects", "target")
    plain: dict[str, Any] = dict.fromkeys(own)
    source = replace(cfg, name=cfg.source or SOURCE, **plain)
    return make_canvases(cfg, DATASETS[source.name](source))


DATASETS: dict[str, Callable[[DataConfig], Datasets]] = {
    "canvas": load_canvas,
    "cifar10": load_cifar,
    "cifar100": load_cifar,
    "digits": load_digits,
    "fashion_mnist": load_idx,
    "folder": load_folder,
    "imagenet": load_imagenet,
    "imagenet_hub": load_hub,
    "mask_folder": load_mask_folder,
    "mni152": load_mni152,
    "mnist": load_idx,
    "mnist5k": load_mnist5k,
    "pets": load_pets,
    "tiny_imagenet": load_tiny_imagenet,
    "tiny_imagenet_hub": load_hub,
}


# What is to be predicted, of datasets that offer several; the first unless data.target says so.
OFFERED = {
    "canvas": ("mask", "labels"),
    **dict.fromkeys(("digits", "fashion_mnist", "mnist", "mnist5k"), ("class", "ink")),
}
# Keys of data that one dataset has alone.
OWN_KEYS = {
    "classes": "mask_folder",
    **dict.fromkeys(("source", "count", "objects"), "canvas"),
    "ndim": "mni152",
}


def load_datasets(cfg: DataConfig) -> Datasets:
    """Return the train, validation and test images of data.name.

    Validation images are split off train by class, from data.split_seed alone; images of test are
    in neither. data.train_size then keeps a stratified part of train. The targets of canvas,
    mask_folder, mni152 and pets are masks, unless data.target says otherwise.

    Raises: DataError for an unknown name, a dataset that is absent and cannot be fetched, a damaged
    file, or a split that the images do not allow.
    """
    if cfg.name not in DATASETS:
        raise DataError(
            f"data.name={cfg.name!r} is not known{nearest(cfg.name, DATASETS) or '.'} "
            f"Choose one of: {', '.join(DATASETS)}"
        )
    for key, owner in OWN_KEYS.items():
        if getattr(cfg, key) is not None and cfg.name != owner:
            raise ConfigError(
                f"data.{key}={getattr(cfg, key)}: a key of data={owner}, and of no use to "
                f"data={cfg.name}; leave it out"
            )
    offered = OFFERED.get(cfg.name, ())
    if cfg.target is not None and cfg.target not in offered:
        raise ConfigError(
            f"data.target={cfg.target}: data={cfg.name} offers "
            f"{' and '.join(offered) or 'one kind of target'}; "
            f"{'type data.target=' + offered[0] if offered else 'leave it out'}"
        )
    datasets = DATASETS[cfg.name](cfg)
    return with_ink(datasets) if cfg.target == "ink" else datasets
