"""Decoded images kept between epochs, in memory or in a folder; pixels stay what they were.

data.cache=memory holds them in each process, data.cache=FOLDER in files that all processes read:

    FOLDER/<hash of what the images are>/00007.npy         uint8, the pixels of 512 images, flat
                                         00007.table.npy   per image: start, H, W, C, checksum
"""

from __future__ import annotations

import math
import os
import shutil
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from PIL import Image

from experiments.data.containers import Admitted, in_memory, part_of
from experiments.data.download import alone
from experiments.data.file_images import FileImages
from experiments.data.masks import MASK, target_kind
from experiments.data.notes import say
from experiments.errors import DataError
from experiments.files import atomic_path
from experiments.machine import usable_cores

MEMORY = "memory"
CHUNK = 512  # images of a file
_VERSION = b"1"  # of the files
_SAMPLE = 64  # images that are decoded to learn how much room all of them need
_ROOM = 0.9  # of the free memory or disk that may be filled
_MODES = ("L", "LA", "RGB", "RGBA")  # what 8 bits in 1 to 4 channels hold
_NPY_HEADER = 128  # bytes before the values of a one-dimensional array that numpy saves


def keep_decoded(splits: Sequence[Admitted], cache: str) -> None:
    """Decode the images of these splits once and let the splits read them from there.

    Only of files that this project decodes itself: a dataset of one's own may change its images at
    random. Images that 8 bits in grey or colour do not hold are decoded each time.

    Raises: DataError for such a dataset, for an image that cannot be decoded, and where the images
    need more room than there is.
    """
    origins = [_origin(split) for split in splits]
    for base in {id(base): base for base, _ in origins}.values():
        if in_memory(base) is not None:
            say(f"data.cache={cache}: the images are in memory already")
            continue
        if target_kind(base) == MASK:
            raise DataError(
                f"data.cache={cache}: images with masks are decoded at each use; type "
                "data.cache=null"
            )
        if not isinstance(base, FileImages):
            raise DataError(
                f"data.cache={cache}: {type(base).__name__} may give another image each time, so "
                "nothing of it can be kept; use data.cache=null, or give images of load_datasets "
                "or read_shards"
            )
        mine = [(split, indices) for split, (b, indices) in zip(splits, origins, strict=True)
                if b is base]  # fmt: skip
        union = np.unique(np.concatenate([indices for _, indices in mine]))
        pixels = _decode_all(Admitted(base, mine[0][0].split, mine[0][0].alpha), union, cache)
        for split, indices in mine:
            split.decoded = Kept(pixels, np.searchsorted(union, indices), base.targets[indices])


def _origin(split: Admitted) -> tuple[Any, np.ndarray]:
    base, indices = split.base, np.arange(len(split))
    while (share := part_of(base)) is not None:
        base, indices = share[0], share[1][indices]
    return base, indices


@dataclass(frozen=True)
class Kept:
    """The items of one split: which images of `pixels` they are, and their labels."""

    pixels: Pixels
    rows: np.ndarray
    targets: np.ndarray

    def __getitem__(self, index: int) -> tuple[Image.Image, int] | None:
        """Return (image, label); None if the image is not held."""
        image = self.pixels.image(int(self.rows[index]))
        return None if image is None else (image, int(self.targets[index]))


class Pixels:
    """Decoded images in chunks, each an array in memory or a file.

    tables: per chunk (n, 5) int64: start, H, W, C, CRC-32; with C = 0 an image is not held.
    """

    def __init__(self, chunks: Sequence[np.ndarray | Path], tables: Sequence[np.ndarray]) -> None:
        self._chunks, self._tables = chunks, tables

    def image(self, row: int) -> Image.Image | None:
        chunk = self._chunks[row // CHUNK]
        start, *shape, check = self._tables[row // CHUNK][row % CHUNK].tolist()
        size = math.prod(shape)
        if not size:
            return None
        if isinstance(chunk, Path):
            content = _read(chunk, start, size, check)
        else:
            content = chunk[start : start + size]
        array = content.reshape(shape)
        return Image.fromarray(array[..., 0] if shape[2] == 1 else array)


def _read(path: Path, start: int, size: int, check: int) -> np.ndarray:
    try:
        with path.open("rb", buffering=0) as file:  # opened each time: there may be thousands
            file.seek(_NPY_HEADER + start)
            content = file.read(size)
    except OSError as error:
        raise DataError(f"cannot read decoded images: {error}; start again") from error
    if zlib.crc32(content) != check:
        raise DataError(
            f"{path} is damaged: delete {path.parent}, which the next start makes anew, or use "
            "data.cache=null"
        )
    return np.frombuffer(content, np.uint8)


# ------------------------------------------------------------------------------------- decoding
def _decode_all(source: Admitted, indices: np.ndarray, cache: str) -> Pixels:
    parts = np.split(indices, range(CHUNK, len(indices), CHUNK))
    folder = None if cache == MEMORY else Path(cache).expanduser() / _hash(source, indices)
    _require_room(source, indices, folder)
    if folder is None:
        say(f"decoding {len(indices)} images into memory")
        made = list(_decode(source, parts))
        return Pixels([pixels for pixels, _ in made], [table for _, table in made])
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with alone(folder / ".lock"):
            _fill(source, parts, folder)
        names = [_names(folder, number) for number in range(len(parts))]
        return Pixels([name for name, _ in names], [np.load(table) for _, table in names])
    except OSError as error:
        raise DataError(f"data.cache={cache} cannot be written: {error}") from error


def _hash(source: Admitted, indices: np.ndarray) -> str:
    """What decides the pixels: the files, by name, size and time, and what the door does."""
    digest = blake2b(_VERSION + source.alpha.encode(), digest_size=8)
    files: Any = source.base
    for index in indices.tolist():
        name, size, modified = files.identify(index)
        digest.update(b"%d %s %d %d\n" % (len(name), name, size, modified))
    return digest.hexdigest()


def _names(folder: Path, number: int) -> tuple[Path, Path]:
    return folder / f"{number:05d}.npy", folder / f"{number:05d}.table.npy"


def _fill(source: Admitted, parts: Sequence[np.ndarray], folder: Path) -> None:
    """Write the chunks that are not there yet; a table is written after its pixels."""
    absent = [number for number in range(len(parts)) if not _is_whole(*_names(folder, number))]
    if not absent:
        return
    say(f"decoding {sum(len(parts[number]) for number in absent)} images into {folder}, once")
    made = _decode(source, [parts[number] for number in absent])
    for number, (pixels, table) in zip(absent, made, strict=True):
        for path, array in zip(_names(folder, number), (pixels, table), strict=True):
            with atomic_path(path) as temporary:
                np.save(temporary, array)


def _is_whole(pixels: Path, table: Path) -> bool:
    try:
        held = np.load(table)[:, 1:4].prod(1).sum()
        return bool(pixels.stat().st_size == _NPY_HEADER + held)
    except (OSError, ValueError):
        return False


def _decode(
    source: Admitted, parts: Sequence[np.ndarray]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield (pixels, table) of each part; Pillow decodes in as many threads as there are cores."""
    with ThreadPoolExecutor(usable_cores()) as pool:
        for part in parts:
            arrays = list(pool.map(lambda index: _array(source[index][0]), part.tolist()))
            sizes = np.array([array.size for array in arrays])
            starts = np.cumsum(sizes) - sizes
            rows = [
                (start, *array.shape, zlib.crc32(array.data))
                for start, array in zip(starts.tolist(), arrays, strict=True)
            ]
            flat = np.concatenate([array.reshape(-1) for array in arrays])
            yield flat, np.array(rows, np.int64)


def _array(image: Any) -> np.ndarray:
    """The pixels of an admitted image (H, W, C), or none where 8 bits would not hold it."""
    if not isinstance(image, Image.Image) or image.mode not in _MODES:
        return np.empty((0, 0, 0), np.uint8)
    array = np.asarray(image)
    return np.ascontiguousarray(array[..., None] if array.ndim == 2 else array)


def _require_room(source: Admitted, indices: np.ndarray, folder: Path | None) -> None:
    """Refuse, before anything is decoded, what memory or disk cannot hold."""
    if folder is None:
        free, copies = psutil.virtual_memory().available, int(os.environ.get("LOCAL_WORLD_SIZE", 1))
        where = f"of memory for {copies} processes" if copies > 1 else "of memory"
        way = "data.cache=FOLDER, which processes share"
    elif folder.exists():
        return  # what is missing of it was counted when it was begun
    else:
        there = next(parent for parent in folder.absolute().parents if parent.exists())
        free, copies, where = shutil.disk_usage(there).free, 1, f"on the disk of {there}"
        way = "data.cache=ANOTHER_FOLDER"
    sample = indices[np.linspace(0, len(indices) - 1, min(len(indices), _SAMPLE)).astype(int)]
    mean = np.mean([_array(source[index][0]).size for index in sample.tolist()])
    needed = mean * len(indices) * copies
    if needed > _ROOM * free:
        raise DataError(
            f"{len(indices)} decoded images need about {needed / 2**30:.1f} GiB {where}, of which "
            f"{free / 2**30:.1f} GiB are free: use {way}, or data.cache=null"
        )
