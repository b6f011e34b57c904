"""ImageNet and Tiny ImageNet: class folders, the published archive, or tar shards."""

from __future__ import annotations

import os
from pathlib import Path

from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torchvision.datasets.utils import download_url, extract_archive

from experiments.config.data import DataConfig
from experiments.data.containers import Datasets
from experiments.data.download import Source, damaged, ensure_present, missing
from experiments.data.file_images import FolderImages
from experiments.data.folders import read_class_folders, read_training_folders
from experiments.data.known import Published
from experiments.data.listing import directories_in
from experiments.data.notes import join_names
from experiments.data.shards import LAYOUT as SHARDS
from experiments.data.shards import names_shards, read_shards
from experiments.data.splits import complete_splits
from experiments.errors import DataError

IMAGENET = Published(IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD, 224)
TINY_IMAGENET = Published(IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD, 64)
TINY_FOLDER = "tiny-imagenet-200"
TINY_URL = "http://cs231n.stanford.edu/tiny-imagenet-200.zip"
TINY_MD5 = "90528d7ca1a48142e341f4ef8d21d0de"
TINY_FILES = ("train/<wnid>/images/*.JPEG", "val/images/*.JPEG", "val/val_annotations.txt")


def load_imagenet(cfg: DataConfig) -> Datasets:
    """ImageNet from root/train and root/val, class directories or shards.

    The published validation images are the test split, those of validation are split off train.

    Raises: DataError if either is absent; it cannot be downloaded.
    """
    places = [] if names_shards(cfg.root) else _places(cfg, "imagenet")
    for place in places:
        if _has_folders(place / "train") and (place / "val").is_dir():
            train = read_training_folders(place / "train", IMAGENET)
            test = read_class_folders(place / "val", train.classes, IMAGENET)
            return complete_splits(cfg, train, test)
    if (splits := _from_shards(cfg, IMAGENET)) is not None:
        return splits
    expected = ["train/<wnid>/*.JPEG", "val/<wnid>/*.JPEG", f"or shards: {SHARDS}"]
    why = "it cannot be downloaded without an account"
    for place in places:
        if _has_folders(place / "train"):
            why = f"{(place / 'val').absolute()} does not exist"
    raise missing("imagenet", places, expected, why)


def load_tiny_imagenet(cfg: DataConfig) -> Datasets:
    """Tiny ImageNet as published, or shards; its val, which has labels, is the test split.

    Raises: DataError if it is absent and cannot be fetched, and for a copy that is incomplete: no
    val_annotations.txt, a class of wnids.txt without images, a listed image that is missing.
    """
    places = [] if names_shards(cfg.root) else _places(cfg, TINY_FOLDER)
    if not any(_has_folders(place / "train") for place in places):
        if (splits := _from_shards(cfg, TINY_IMAGENET)) is not None:
            return splits
        _ensure_tiny(cfg, places)
    place = next(place for place in places if _has_folders(place / "train"))
    train = read_training_folders(place / "train", TINY_IMAGENET)
    _require_all_classes(place / "wnids.txt", train.classes)
    test = _read_annotated(place / "val", train.classes)
    _name_classes(place / "words.txt", train, test)
    return complete_splits(cfg, train, test)


def _places(cfg: DataConfig, folder: str) -> list[Path]:
    root = Path(cfg.root).expanduser()
    return [root / folder, root]


def _has_folders(directory: Path) -> bool:
    return directory.is_dir() and bool(directories_in(directory))


def _from_shards(cfg: DataConfig, known: Published) -> Datasets | None:
    """The splits of shards, where the published validation images are the test split."""
    shards = read_shards(cfg, known)
    if not shards:
        return None
    if "validation" not in shards:
        raise DataError(
            f"the shards of {cfg.root} have no validation split, which {cfg.name} is tested on; "
            f"wanted: {SHARDS}"
        )
    return complete_splits(cfg, shards["train"], shards["validation"])


def _ensure_tiny(cfg: DataConfig, places: list[Path]) -> None:
    root = Path(cfg.root).expanduser()
    source = Source(
        "tiny_imagenet",
        root,
        expected=[*TINY_FILES, f"or shards: {SHARDS}"],
        looked_in=places,
        present=lambda: any(_has_folders(place / "train") for place in places),
        fetch=lambda: _fetch_tiny(root),
        archive=(root / f"{TINY_FOLDER}.zip", TINY_MD5),
    )
    ensure_present(source, cfg.download)


def _fetch_tiny(root: Path) -> None:
    archive = f"{TINY_FOLDER}.zip"
    download_url(TINY_URL, str(root), archive, TINY_MD5)
    # Unpacked beside its place and then renamed, so that a partial copy is never taken for whole.
    partial = root / f"{TINY_FOLDER}.partial"
    extract_archive(str(root / archive), str(partial))
    os.replace(partial / TINY_FOLDER, root / TINY_FOLDER)
    partial.rmdir()


def _require_all_classes(path: Path, classes: list[str]) -> None:
    """Raise DataError if wnids.txt lists a class that has no training image."""
    listed = path.read_text().split() if path.is_file() else []
    absent = [wnid for wnid in listed if wnid not in classes]
    if absent:
        raise DataError(
            f"{(path.parent / 'train').absolute()} has no images of {join_names(absent)}, which "
            f"{path.name} lists: the copy is incomplete. Unpack the archive again, or take these "
            f"out of {path.name}"
        )


def _read_annotated(folder: Path, classes: list[str]) -> FolderImages:
    path = folder / "val_annotations.txt"
    if not path.is_file():
        raise DataError(
            f"{path.absolute()} does not exist: it holds the labels of val/images, a line "
            "`NAME.JPEG<tab>WNID` each. Unpack the archive again, or set data.root to a whole copy"
        )
    labels = {name: label for label, name in enumerate(classes)}
    present = set(os.listdir(folder / "images")) if (folder / "images").is_dir() else set()
    samples, absent = [], []
    for line in _lines(path):
        name, wnid, *_ = (*line.split("\t"), "")
        if wnid not in labels:
            raise damaged(path, f"the line {line!r} names no class of train")
        absent += [] if name in present else [name]
        samples.append((str(folder / "images" / name), labels[wnid]))
    if not samples:
        raise damaged(path, "it lists no images")
    if absent:
        raise DataError(
            f"{(folder / 'images').absolute()} lacks {len(absent)} of the {len(samples)} images "
            f"that {path.name} lists: {join_names(absent)}. Unpack the archive again"
        )
    return FolderImages(folder, samples, classes, TINY_IMAGENET)


def _name_classes(path: Path, *datasets: FolderImages) -> None:
    """Replace WordNet ids by the first word of each, where words.txt gives one."""
    if not path.is_file():
        return
    pairs = (line.split("\t", 1) for line in _lines(path) if "\t" in line)
    words = {wnid: text.split(",")[0].strip() for wnid, text in pairs}
    for dataset in datasets:
        dataset.classes = [words.get(wnid, wnid) for wnid in dataset.classes]


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise damaged(path, error) from error
