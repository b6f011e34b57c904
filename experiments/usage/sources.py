"""Which files a prediction is asked for: files, folders and patterns, each file once."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments.data.listing import is_clutter
from experiments.errors import DataError


@dataclass(frozen=True)
class Wanted:
    """A file, and its name within the folder that was given (of a file its own name)."""

    path: Path
    name: str


@dataclass(frozen=True)
class Kind:
    """What is looked for: the word for one such thing, and what the names of its files end in."""

    what: str
    extensions: tuple[str, ...]

    def fits(self, name: str) -> bool:
        """Whether a file is one of them by its name."""
        return name.lower().endswith(self.extensions) and not is_clutter(name)

    def stem(self, name: str) -> str:
        """The name without its extension, which may have several dots."""
        ends = [end for end in self.extensions if name.lower().endswith(end)]
        return name[: -len(max(ends, key=len))] if ends else str(Path(name).with_suffix(""))


def find_files(given: Sequence[str], kind: Kind) -> list[Wanted]:
    """Those of files, of folders with all below them, and of patterns such as 'a/**/*.png'.

    Raises: DataError: a path does not exist, a pattern fits nothing, a folder holds none.
    """
    found: dict[Path, Wanted] = {}
    for text in given:
        for wanted in _of(text, kind):
            found.setdefault(wanted.path.resolve(), wanted)
    return list(found.values())


def _of(text: str, kind: Kind) -> list[Wanted]:
    path, what = Path(text).expanduser(), kind.what
    if path.is_dir():
        listed = [Wanted(file, str(file.relative_to(path))) for file in _below(path, kind)]
        if not listed:
            raise DataError(f"{path} holds no {what} ({', '.join(kind.extensions)})")
        return listed
    if path.exists():
        return [Wanted(path, path.name)]
    if not glob.has_magic(text):
        raise DataError(
            f"{text} does not exist: give {what} files, folders, or a pattern in quotes"
        )
    fitting = sorted(map(Path, glob.glob(str(path), recursive=True)))
    files = [file for file in fitting if file.is_file() and kind.fits(file.name)]
    if not files:
        raise DataError(f"{text} fits no {what} file; give another pattern")
    return [Wanted(file, file.name) for file in files]


def _below(folder: Path, kind: Kind) -> Iterator[Path]:
    for directory, children, files in os.walk(folder):
        children[:] = sorted(child for child in children if not is_clutter(child))
        yield from (Path(directory, name) for name in sorted(files) if kind.fits(name))


def distinct_names(wanted: Sequence[Wanted], kind: Kind) -> list[str]:
    """A name without suffix for what is written for each file; a number tells equal ones apart."""
    taken: set[str] = set()
    names = []
    for one in wanted:
        stem = name = kind.stem(one.name)
        number = 1
        while name in taken:
            number += 1
            name = f"{stem}_{number}"
        taken.add(name)
        names.append(name)
    return names
