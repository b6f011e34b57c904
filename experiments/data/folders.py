"""Images in directories: one per class, Tiny ImageNet's published layout, ImageNet."""

from __future__ import annotations

import os
from pathlib import Path

from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torchvision.datasets.utils import download_url, extract_archive

from experiments.config.data import DataConfig
from experiments.data.containers import UNKNOWN, Datasets, FolderImages, Published
from experiments.data.download import Source, damaged, ensure_present, missing
from experiments.data.listing import EXTENSIONS, directories_in, find_splits, list_images
from experiments.data.notes import join_names, say
from experiments.data.splits import complete_splits, split_off_test
from experiments.errors import DataError, nearest

IMAGENET = Published(IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD, 224)
TINY_IMAGENET = Published(IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD, 64)
TINY_FOLDER = "tiny-imagenet-200"
TINY_URL = "http://cs231n.stanford.edu/tiny-imagenet-200.zip"
TINY_MD5 = "90528d7ca1a48142e341f4ef8d21d0de"
_LAYOUT = (
    "train/<class>/<image> and test/<class>/<image> (val/<class>/<image> if you have it), or "
    "<class>/<image> alone, of which 20 % becomes the test split"
)


def read_class_folders(
    folder: Path, classes: list[str], known: Published = UNKNOWN
) -> FolderImages:
    """List the images of each class directory.

    The label is the place in `classes`, which come from train: a split that lacks a class must not
    shift the labels of the others.

    Raises: DataError for a directory with images that is no class of train, and if there are none.
    """
    unknown = [name for name in directories_in(folder) if name not in classes]
    for name in unknown:
        if list_images(folder, [name]).samples:
            raise DataError(
                f"{(folder / name).absolute()} is a class that the training images do not have"
                f"{nearest(name, classes) or '.'} Rename or delete it"
            )
    listing = list_images(folder, classes)
    if not listing.samples:
        raise DataError(f"{folder.absolute()} holds no image ({', '.join(EXTENSIONS)})")
    if known is UNKNOWN:  # published datasets have notes among their images
        listing.tell_passed()
    return FolderImages(folder, listing.samples, classes, known)


def read_training_folders(folder: Path, known: Published = UNKNOWN) -> FolderImages:
    """List the training images, whose directories define the classes.

    A directory without images is kept out, in a line: a class that cannot be learnt would only
    take up an output of the model. If another split has images of it, that split is refused.

    Raises: DataError if there is no class directory, or no image in any.
    """
    names = directories_in(folder)
    if not names:
        raise DataError(f"{folder.absolute()} holds no class directories; wanted: {_LAYOUT}")
    filled = {label for _, label in list_images(folder, names).samples}
    classes = [name for label, name in enumerate(names) if label in filled]
    empty = [name for name in names if name not in classes]
    if empty and classes:
        say(
            f"no image in the class directories {join_names(empty)} of {folder}: kept out of the "
            f"{len(classes)} classes"
        )
    return read_class_folders(folder, classes, known)


def load_folder(cfg: DataConfig) -> Datasets:
    """Images of your own: root/train, root/test and optionally root/val, or classes in root.

    Other names of the splits (SPLIT_NAMES) do as well, in any case. Without validation images they
    are split off train. With class directories in root itself, a stratified 20 % becomes test, the
    same in every run.

    Raises: DataError naming the layout wanted.
    """
    root = Path(cfg.root).expanduser()
    if not root.is_dir():
        why = "a file, not a directory" if root.exists() else "no such directory"
        raise missing("folder", [root], [_LAYOUT], why)
    places = find_splits(root)
    if not places:
        return complete_splits(cfg, *split_off_test(read_training_folders(root)))
    for split in ("train", "test"):
        if split not in places:
            raise DataError(
                f"{(root / split).absolute()} does not exist; wanted: {_LAYOUT}. A held-out val "
                "that is to be the test split must be renamed to test"
            )
    images = read_training_folders(places["train"])
    test = read_class_folders(places["test"], images.classes)
    if "validation" not in places:
        return complete_splits(cfg, images, test)
    validation = read_class_folders(places["validation"], images.classes)
    return complete_splits(cfg, images, test, validation)


def load_imagenet(cfg: DataConfig) -> Datasets:
    """ImageNet by class directories, root/train and root/val; the published val is the test split.

    Raises: DataError if either is absent; it cannot be downloaded.
    """
    root = Path(cfg.root).expanduser()
    places = [root, root / "imagenet"]
    for place in places:
        if (place / "train").is_dir() and (place / "val").is_dir():
            train = read_training_folders(place / "train", IMAGENET)
            test = read_class_folders(place / "val", train.classes, IMAGENET)
            return complete_splits(cfg, train, test)
    expected = ["train/<wnid>/*.JPEG", "val/<wnid>/*.JPEG"]
    raise missing("imagenet", places, expected, "it cannot be downloaded without an account")


def load_tiny_imagenet(cfg: DataConfig) -> Datasets:
    """Tiny ImageNet as published; its val, which has labels, is the test split.

    Raises: DataError if it is absent and cannot be fetched, or if a listed image is missing.
    """
    root = Path(cfg.root).expanduser()
    places = [root / TINY_FOLDER, root]

    def find() -> Path | None:
        return next((p for p in places if (p / "val" / "val_annotations.txt").is_file()), None)

    source = Source(
        "tiny_imagenet",
        root,
        expected=["train/<wnid>/images/*.JPEG", "val/images/*.JPEG", "val/val_annotations.txt"],
        looked_in=places,
        present=lambda: find() is not None,
        fetch=lambda: _fetch_tiny(root),
        archive=(root / f"{TINY_FOLDER}.zip", TINY_MD5),
    )
    ensure_present(source, cfg.download)
    place = find()
    assert place is not None
    if not (place / "train").is_dir():
        raise missing(source.name, [place], source.expected, "train is absent")
    train = read_training_folders(place / "train", TINY_IMAGENET)
    test = _read_annotated(place / "val", train.classes)
    _name_classes(place / "words.txt", train, test)
    return complete_splits(cfg, train, test)


def _fetch_tiny(root: Path) -> None:
    archive = f"{TINY_FOLDER}.zip"
    download_url(TINY_URL, str(root), archive, TINY_MD5)
    # Unpacked beside its place and then renamed, so that a partial copy is never taken for whole.
    partial = root / f"{TINY_FOLDER}.partial"
    extract_archive(str(root / archive), str(partial))
    os.replace(partial / TINY_FOLDER, root / TINY_FOLDER)
    partial.rmdir()


def _read_annotated(folder: Path, classes: list[str]) -> FolderImages:
    path = folder / "val_annotations.txt"
    labels = {name: label for label, name in enumerate(classes)}
    samples = []
    for line in _lines(path):
        name, wnid, *_ = (*line.split("\t"), "")
        if wnid not in labels:
            raise damaged(path, f"the line {line!r} names no class of train")
        samples.append((str(folder / "images" / name), labels[wnid]))
    if not samples:
        raise damaged(path, "it lists no images")
    return FolderImages(folder, samples, classes, TINY_IMAGENET)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise damaged(path, error) from error


def _name_classes(path: Path, *datasets: FolderImages) -> None:
    """Replace WordNet ids by the first word of each, where words.txt gives one."""
    if not path.is_file():
        return
    pairs = (line.split("\t", 1) for line in _lines(path) if "\t" in line)
    words = {wnid: text.split(",")[0].strip() for wnid, text in pairs}
    for dataset in datasets:
        dataset.classes = [words.get(wnid, wnid) for wnid in dataset.classes]
