"""Which images a prediction is asked for: files, folders and patterns, each image once."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments.data.listing import EXTENSIONS, is_clutter
from experiments.errors import DataError


@dataclass(frozen=True)
class Wanted:
    """An image file, and its name within the folder that was given (of a file its own name)."""

    path: Path
    name: str


def find_images(given: Sequence[str]) -> list[Wanted]:
    """The images of files, of folders with all below them, and of patterns such as 'a/**/*.png'.

    Raises: DataError: a path does not exist, a pattern fits nothing, a folder holds no image.
    """
    found: dict[Path, Wanted] = {}
    for text in given:
        for wanted in _of(text):
            found.setdefault(wanted.path.resolve(), wanted)
    return list(found.values())


def _of(text: str) -> list[Wanted]:
    path = Path(text).expanduser()
    if path.is_dir():
        listed = [Wanted(file, str(file.relative_to(path))) for file in _below(path)]
        if not listed:
            raise DataError(f"{path} holds no image ({', '.join(EXTENSIONS)})")
        return listed
    if path.exists():
        return [Wanted(path, path.name)]
    if not glob.has_magic(text):
        raise DataError(f"{text} does not exist: give image files, folders, or a pattern in quotes")
    fitting = sorted(map(Path, glob.glob(str(path), recursive=True)))
    files = [file for file in fitting if file.is_file() and _is_image(file.name)]
    if not files:
        raise DataError(f"{text} fits no image file; give another pattern")
    return [Wanted(file, file.name) for file in files]


def _below(folder: Path) -> Iterator[Path]:
    for directory, children, files in os.walk(folder):
        children[:] = sorted(child for child in children if not is_clutter(child))
        yield from (Path(directory, name) for name in sorted(files) if _is_image(name))


def _is_image(name: str) -> bool:
    return name.lower().endswith(EXTENSIONS) and not is_clutter(name)


def distinct_names(wanted: Sequence[Wanted]) -> list[str]:
    """A name without suffix for what is written for each image; a number tells equal ones apart."""
    taken: set[str] = set()
    names = []
    for one in wanted:
        stem = name = str(Path(one.name).with_suffix(""))
        number = 1
        while name in taken:
            number += 1
            name = f"{stem}_{number}"
        taken.add(name)
        names.append(name)
    return names
