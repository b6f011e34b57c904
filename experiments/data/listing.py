"""Finds image files under class directories: which names count, which directories are entered."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from experiments.data.notes import say
from experiments.errors import DataError, shortage

# What Pillow reads on every platform; of files with several pictures (webp, tif) the first.
# No .gif: 256 colours of a palette, most often an animation; it is counted among those passed over.
EXTENSIONS = (
    ".bmp", ".dib", ".jfif", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm",
    ".ppm", ".tga", ".tif", ".tiff", ".webp",
)  # fmt: skip
# What systems and programs leave in folders; names that begin with a dot are passed over as well.
CLUTTER = {
    "$recycle.bin", "@eadir", "__macosx", "__pycache__", "desktop.ini", "ehthumbs.db",
    "lost+found", "system volume information", "thumbs.db",
}  # fmt: skip
SPLIT_NAMES = {
    "train": ("train", "training"),
    "validation": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}


def is_clutter(name: str) -> bool:
    """Whether a file or directory is passed over without a word."""
    return name.startswith(".") or name.lower() in CLUTTER


def directories_in(folder: Path) -> list[str]:
    """Return the names of the directories, sorted, without clutter."""
    return _scan(str(folder))[1]


def find_splits(root: Path) -> dict[str, Path]:
    """Return {"train": path, ...} of the split directories, whose names count in any case.

    Without one for training, `valid`, `dev` and the like beside other directories are classes, as
    in valid/ and invalid/.

    Raises: DataError for two directories of one split.
    """
    names = directories_in(root)
    found: dict[str, Path] = {}
    for split, known in SPLIT_NAMES.items():
        mine = [name for name in names if name.lower() in known]
        if len(mine) > 1:
            raise DataError(
                f"{root.absolute()} has two directories for the {split} split, "
                f"{' and '.join(mine)}: keep one, merge or rename the other"
            )
        if mine:
            found[split] = root / mine[0]
    others = [name for name in names if root / name not in found.values()]
    usual = any(path.name.lower() in ("val", "test") for path in found.values())
    if others and "train" not in found and not usual:
        return {}
    if found and others:
        say(f"passed over the directories {', '.join(others)} in {root}, which name no split")
    return found


@dataclass
class Listing:
    """The images of the classes in one directory.

    samples: (path, label) in the order of classes, directories and files. passed: how many files of
    each other extension there are.
    """

    root: Path
    samples: list[tuple[str, int]] = field(default_factory=list)
    passed: Counter[str] = field(default_factory=Counter)

    def tell_passed(self) -> None:
        """Say what was passed over, if anything was."""
        if not self.passed:
            return
        order = sorted(self.passed.items(), key=lambda item: (-item[1], item[0]))
        counts = ", ".join(f"{n} {kind}" for kind, n in order)
        known = " ".join(EXTENSIONS)
        say(f"passed over {counts} in {self.root}; the known ones are {known}, in class folders")


def list_images(root: Path, classes: list[str]) -> Listing:
    """List the images of each class directory, at any depth; labels are places in `classes`.

    Each real directory is entered once: links that lead back up are not followed, and of two links
    to one directory within a class one is. Order: that of torchvision's ImageFolder.

    Raises: DataError if one directory belongs to two classes.
    """
    listing = Listing(root)
    owners: dict[str, str | None] = {}
    place = os.path.realpath(root)
    while place not in owners:  # what lies above belongs to no class
        owners[place] = None
        place = os.path.dirname(place)
    present = [(label, name) for label, name in enumerate(classes) if (root / name).is_dir()]
    own = [(label, name) for label, name in present if _claim(owners, str(root / name), name)]
    for label, name in own:
        _walk(listing, owners, str(root / name), label, name)
    loose, _ = _scan(str(root))
    listing.passed.update(f"{_kind(name)} outside class folders" for name in loose if _image(name))
    return listing


def _scan(folder: str) -> tuple[list[str], list[str]]:
    """The names of files and of directories in a directory, each sorted, without clutter."""
    files: list[str] = []
    folders: list[str] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if not is_clutter(entry.name):
                    (folders if _is_directory(entry) else files).append(entry.name)
    except OSError as error:
        raise shortage(error) or DataError(
            f"cannot read the directory {folder}: {error.strerror}"
        ) from error
    return sorted(files), sorted(folders)


def _is_directory(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _image(name: str) -> bool:
    return name.lower().endswith(EXTENSIONS)


def _kind(name: str) -> str:
    return os.path.splitext(name)[1].lower() or "without extension"


def _claim(owners: dict[str, str | None], path: str, name: str) -> bool:
    """Whether a directory is new, and hence now the class's.

    Raises: DataError if it is another class's.
    """
    real = os.path.realpath(path)
    owner = owners.setdefault(real, name)
    if owner not in (name, None):
        raise DataError(
            f"{path} is the same directory as {real} of class {owner!r}: its images would have two "
            "labels; remove the link"
        )
    return owner is not None


def _walk(listing: Listing, owners: dict[str, str | None], top: str, label: int, name: str) -> None:
    pending, entered = [top], {os.path.realpath(top)}
    found: list[tuple[str, list[str]]] = []
    while pending:
        folder = pending.pop()
        files, folders = _scan(folder)
        for inner in (os.path.join(folder, each) for each in folders):
            real = os.path.realpath(inner)
            if real not in entered and _claim(owners, inner, name):
                entered.add(real)
                pending.append(inner)
        listing.passed.update(_kind(file) for file in files if not _image(file))
        found.append((folder, [file for file in files if _image(file)]))
    for folder, files in sorted(found):
        listing.samples += [(os.path.join(folder, file), label) for file in files]
