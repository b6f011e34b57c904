"""Images in tar shards, as webdataset writes them, read at random: one more map-style dataset.

Sample i is (tar, offset, length, label). Order, split and resume are the loader's own, the same as
for folders, over any number of processes; a shard belongs to no process.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from experiments.config.data import DataConfig
from experiments.data.download import missing
from experiments.data.fetch import fetch_all, is_url
from experiments.data.file_images import FileImages, Identity, pack_names
from experiments.data.known import UNKNOWN, Published
from experiments.data.listing import SPLIT_NAMES, is_clutter
from experiments.data.notes import join_names
from experiments.data.tar_index import TarIndex, load_indices
from experiments.errors import DataError, nearest

COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
_NUMBER = re.compile(r"(.*[-_./]|)(\d+)\.tar")
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
LAYOUT = (
    "NAME-train-0000.tar ... and NAME-val-0000.tar ..., or the same in train/ and val/; a URL or "
    'path of many as data.root="PATH/train-{000..146}.tar::PATH/val-{00..06}.tar"'
)


class ShardImages(FileImages):
    """The images of several tar files, in the order of the files and of their members."""

    remedy = "write its shard anew"

    def __init__(
        self,
        tars: Sequence[Path],
        indices: Sequence[TarIndex],
        classes: Sequence[str],
        known: Published = UNKNOWN,
    ) -> None:
        places = {name: place for place, name in enumerate(classes)}
        labels = [label for index in indices for label in index.labels]
        targets = [label if isinstance(label, int) else places[label] for label in labels]
        super().__init__(np.array(targets, np.int64), classes, known)
        self._paths = [str(tar) for tar in tars]
        self._modified = [tar.stat().st_mtime_ns for tar in tars]
        self._tar = np.repeat(np.arange(len(tars)), [len(index.names) for index in indices])
        self._offset = np.concatenate([np.array(index.offsets, np.int64) for index in indices])
        self._size = np.concatenate([np.array(index.sizes, np.int64) for index in indices])
        self._names = pack_names(name for index in indices for name in index.names)

    def open(self, index: int) -> BytesIO:
        # Opened for each image: a thousand shards would exceed what a process may hold open.
        with open(self._paths[self._tar[index]], "rb", buffering=0) as file:
            file.seek(int(self._offset[index]))
            content = file.read(int(self._size[index]))
        if len(content) < self._size[index]:
            raise DataError("is cut short: its tar file has become shorter since the run began")
        return BytesIO(content)

    def locate(self, index: int) -> str:
        return f"{self._paths[self._tar[index]]}: {os.fsdecode(bytes(self._names[index]))}"

    def identify(self, index: int) -> Identity:
        place = self._tar[index]
        shard = os.fsencode(os.path.basename(self._paths[place]))
        name = shard + b"/" + bytes(self._names[index])
        return Identity(name, int(self._size[index]), self._modified[place])


def read_shards(cfg: DataConfig, known: Published = UNKNOWN) -> dict[str, ShardImages]:
    """Return {split: images} of the shards that data.root names; {} if it names none.

    data.root is a directory that holds tar files, or paths or URLs of tar files, several joined by
    `::`, with {000..146} for numbers. Splits are told by the names of files or directories. Shards
    of a URL are first copied to data.download_dir. Classes are those of the training images: names
    in the order of the alphabet, or as many numbers as the largest index needs.

    Raises: DataError if a shard is missing, cut short or has a sample without label or image, if a
    URL does not answer, or if a split has a class that the training images do not have.
    """
    found = find_shards(cfg)
    if not found:
        return {}
    if "train" not in found:
        raise DataError(
            f"the shards of {cfg.root} have no training split, they are of {', '.join(found)}; "
            f"wanted: {LAYOUT}"
        )
    spare = Path(cfg.download_dir).expanduser() / "indices"
    indices = {split: load_indices(tars, spare) for split, tars in found.items()}
    classes = _classes(indices["train"], found["train"])
    for split, parts in indices.items():
        for tar, index in zip(found[split], parts, strict=True):
            _require_classes(tar, index, classes)
    return {
        split: ShardImages(tars, indices[split], classes, known) for split, tars in found.items()
    }


def find_shards(cfg: DataConfig) -> dict[str, list[Path]]:
    """Return the tar files of each split, in the order of their names; URLs are copied first.

    Raises: DataError for a file that is missing, compressed, or whose name tells no split.
    """
    if not names_shards(cfg.root):
        root = Path(cfg.root).expanduser()
        folders = [root, *(root / name for names in SPLIT_NAMES.values() for name in names)]
        return _paths(_by_split([str(tar) for folder in folders for tar in _tars_in(folder)]))
    names = [name for part in cfg.root.split("::") for name in _numbered(part.strip())]
    splits = _by_split(names)  # before anything is copied
    urls = [name for name in names if is_url(name)]
    copies = fetch_all(urls, Path(cfg.download_dir).expanduser(), cfg.download)
    found = _paths(splits, copies)
    absent = [path for group in found.values() for path in group if not path.is_file()]
    if absent:
        named = join_names([path.name for path in absent])
        raise missing(cfg.name, [absent[0].parent], [LAYOUT], f"no such file: {named}")
    return found


def _paths(splits: dict[str, list[str]], copies: dict[str, Path] | None = None) -> Any:
    copies = copies or {}
    return {
        split: [copies.get(name) or Path(name).expanduser() for name in names]
        for split, names in splits.items()
    }


def names_shards(root: str) -> bool:
    """Whether data.root names tar files, rather than a directory."""
    return is_url(root) or root.endswith(".tar") or ".tar::" in root


def _tars_in(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    files = sorted(path for path in folder.iterdir() if not is_clutter(path.name))
    for path in files:
        if path.name.endswith(COMPRESSED):
            raise DataError(
                f"{path} is compressed and cannot be read at random: unpack it, to a plain tar "
                "file of samples or to class folders"
            )
    return [path for path in files if path.name.endswith(".tar") and path.is_file()]


def _numbered(pattern: str) -> Iterator[str]:
    """Yield the names that a pattern stands for: a{08..10} is a08, a09, a10."""
    found = _RANGE.search(pattern)
    if found is None:
        if {"{", "}", "*"} & set(pattern):
            raise DataError(
                f"data.root: {pattern!r} has braces or a star that are no range; write the numbers "
                "as {000..146}, first and last with as many digits as in the names"
            )
        yield pattern
        return
    first, last = found.groups()
    for number in range(int(first), int(last) + 1):
        filled = pattern[: found.start()] + str(number).zfill(len(first)) + pattern[found.end() :]
        yield from _numbered(filled)


def _by_split(names: Sequence[str]) -> dict[str, list[str]]:
    """Group shards by the split that a word of the file's name, or its directory, tells.

    Raises: DataError for one that tells none or several, and for a number that is left out.
    """
    found: dict[str, list[str]] = {}
    for name in names:
        folder, _, file = name.rpartition("/")
        splits = _splits_told(re.split(r"[^a-z]+", file.lower()))
        splits = splits or _splits_told([folder.rpartition("/")[2].lower()])
        if len(splits) != 1:
            told = f"of the splits {' and '.join(splits)}" if splits else "of no split"
            raise DataError(f"{name} is {told} by its name; wanted: {LAYOUT}")
        found.setdefault(splits[0], []).append(name)
    for group in found.values():
        group.sort()
        _require_all_numbers(group)
    return found


def _splits_told(words: Sequence[str]) -> list[str]:
    return [split for split, known in SPLIT_NAMES.items() if set(words) & set(known)]


def _require_all_numbers(names: Sequence[str]) -> None:
    """Raise DataError if numbered shards of one name leave out a number between two others."""
    numbers: dict[str, dict[int, str]] = {}
    for name in names:
        if found := _NUMBER.fullmatch(name):
            numbers.setdefault(found[1], {})[int(found[2])] = found[2]
    for stem, known in numbers.items():
        gaps = sorted(set(range(min(known), max(known))) - set(known))
        if gaps:
            width = len(known[min(known)])
            named = join_names([f"{stem}{str(gap).zfill(width)}.tar" for gap in gaps])
            raise DataError(
                f"{named} missing: the shards before and behind are there, so the copy is "
                "incomplete; copy the rest, or rename the shards if that is all"
            )


# --------------------------------------------------------------------------------------- classes
def _classes(indices: Sequence[TarIndex], tars: Sequence[Path]) -> list[str]:
    """The classes of the training shards, whose labels must be all names or all numbers."""
    kinds = {type(label): tar for tar, i in zip(tars, indices, strict=True) for label in i.labels}
    if len(kinds) > 1:
        raise DataError(
            f"{kinds[str]} has names of classes and {kinds[int]} numbers: the rule is one kind for "
            "all; write the shards with the same"
        )
    labels = {label for index in indices for label in index.labels}
    if kinds.keys() == {str}:
        return sorted(str(label) for label in labels)
    return [str(number) for number in range(max(map(int, labels)) + 1)]


def _require_classes(tar: Path, index: TarIndex, classes: Sequence[str]) -> None:
    known = set(classes)
    for name, label in zip(index.names, index.labels, strict=True):
        if str(label) not in known:
            raise DataError(
                f"{tar}: {name} has the class {label!r}, which the training images do not have"
                f"{nearest(str(label), classes) or '.'} Write the shard with another label, or "
                "leave the sample out"
            )
