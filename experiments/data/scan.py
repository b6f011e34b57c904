"""Reads every image before training: damaged ones are told all at once, or left out."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from rich.progress import track

from experiments.data.containers import Admitted, Part, in_memory, locate, part_of
from experiments.data.file_images import EncodedImages
from experiments.data.notes import join_names, say
from experiments.errors import DataError, reason, shortage
from experiments.machine import usable_cores

LISTED = 20  # images in a message


def scan(splits: list[Admitted], skip: bool, progress: bool) -> list[Admitted]:
    """Read all images of these splits, and return the splits; with skip, of the readable ones.

    Damaged is what its dataset cannot read. An image that can be read and breaks a rule, as pixels
    of unknown range do, is an error of all such images, and never left out.

    Raises: DataError that lists what cannot be used; a split of which nothing is left.
    """
    damaged: dict[str, dict[int, str]] = {}
    broken: list[str] = []
    for part in splits:
        found = damaged[part.split] = {}
        for index, words, is_damaged in _problems(part, progress):
            if is_damaged:
                found[index] = words
            else:
                broken.append(words)
    listed = [words for found in damaged.values() for words in found.values()]
    if broken or (listed and not skip):
        raise DataError(_list([*([] if skip else listed), *broken], only_damaged=not broken))
    return [_without(part, damaged[part.split]) for part in splits]


def left_out(splits: Iterable[Any]) -> dict[str, list[str]]:
    """{split: the names of the images that it is without}, of splits that are without any."""
    return {part.split: part.left_out for part in splits if part.left_out}


def _problems(part: Admitted, progress: bool) -> Iterator[tuple[int, str, bool]]:
    """(index, what is wrong, whether it is damaged) of each image that cannot be used."""
    if in_memory(part) is not None:
        return  # there is nothing to decode, and the door looks at all of it

    def problem(index: int) -> tuple[str, bool] | None:
        try:
            item = part.base[index]
        except (OSError, DataError) as error:
            if found := shortage(error):
                raise found from error
            words = str(error) if isinstance(error, DataError) else reason(error)
            where = locate(part.base, index)
            return words if where in words else f"{where}: {words}", True
        try:
            part.admit(item, index)
        except DataError as error:
            return str(error), False
        return None

    shown = progress and os.environ.get("RANK", "0") == "0"
    with ThreadPoolExecutor(_threads(part)) as pool:
        found = _in_order(pool, problem, len(part))
        label = f"reading {len(part)} {part.split} images"
        for index, wrong in enumerate(
            track(found, label, total=len(part), disable=not shown, transient=True)
        ):
            if wrong is not None:
                yield index, *wrong


def _in_order(pool: ThreadPoolExecutor, problem: Any, count: int) -> Iterator[Any]:
    """problem(index) of each index, a few hundred at a time."""
    for start in range(0, count, 512):
        yield from pool.map(problem, range(start, min(start + 512, count)))


def _threads(part: Admitted) -> int:
    """As many as there are cores for files of this project's own reading; others may mind it."""
    base: Any = part
    while (share := part_of(base)) is not None:
        base = share[0]
    return usable_cores() if isinstance(base, EncodedImages) else 1


def _list(words: list[str], only_damaged: bool) -> str:
    more = [f"and {len(words) - LISTED} more"] if len(words) > LISTED else []
    way = "mend or delete them, or type data.skip_damaged=true to leave them out"
    end = way if only_damaged else "these break a rule for all images, which get_data can keep"
    lines = [f"  {each}" for each in [*words[:LISTED], *more]]
    count = f"{len(words)} image{'s' if len(words) > 1 else ''} cannot be used: {end}"
    return "\n".join([count, *lines])


def _without(part: Admitted, damaged: dict[int, str]) -> Admitted:
    """The split without these images, whose names it keeps."""
    if not damaged:
        return part
    kept = np.setdiff1d(np.arange(len(part)), list(damaged))
    if not len(kept):
        raise DataError(
            f"all {len(part)} {part.split} images are damaged, for example {damaged[0]}"
        )
    names = [locate(part.base, index) for index in damaged]
    say(f"left out {len(names)} damaged {part.split} images: {join_names(names)}")
    rest = Admitted(Part(part.base, kept), part.split, part.alpha)
    rest.left_out = names
    return rest
