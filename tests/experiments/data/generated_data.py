"""Writes tiny datasets in the layouts that the loaders read."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
import zlib
from pathlib import Path

import numpy as np
from PIL import Image


def write_images(folder: Path, count: int, size=(8, 8), mode="RGB", seed=0) -> list[Path]:
    """Write `count` PNG images of noise, the first pixel of which numbers them."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(seed)
    paths = []
    for number in range(count):
        shape = (size[1], size[0]) if mode == "L" else (size[1], size[0], 3)
        pixels = generator.integers(0, 256, shape, dtype=np.uint8)
        pixels[0, 0] = number
        paths.append(folder / f"{number:03d}.png")
        Image.fromarray(pixels).save(paths[-1])
    return paths


def write_tree(root: Path, splits, classes=("ant", "bee"), count=10, **kwargs) -> None:
    for seed, split in enumerate(splits):
        for offset, name in enumerate(classes):
            write_images(root / split / name, count, seed=seed * 10 + offset, **kwargs)


def write_idx(path: Path, values: np.ndarray) -> Path:
    header = struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape)
    raw = header + values.astype(np.uint8).tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)
    return path


def write_idx_dataset(folder: Path, suffix: str = ".gz", train: int = 40, test: int = 10) -> None:
    generator = np.random.default_rng(0)
    for part, count in (("train", train), ("t10k", test)):
        pixels = generator.integers(0, 256, (count, 28, 28))
        write_idx(folder / f"{part}-images-idx3-ubyte{suffix}", pixels)
        write_idx(folder / f"{part}-labels-idx1-ubyte{suffix}", np.arange(count) % 10)


def write_deep_png(path: Path, values: np.ndarray) -> Path:
    """Write a PNG file of 16 bits a channel, which Pillow can only do in grey. values: (H, W, C)"""

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    height, width, channels = values.shape
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)
    parts = [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    return path


def jpeg(number: int, size=(8, 8)) -> bytes:
    """A JPEG file whose grey level is its number."""
    file = io.BytesIO()
    Image.new("RGB", size, (number, number, number)).save(file, "JPEG", quality=95)
    return file.getvalue()


def write_tar(path: Path, members: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def write_shards(folder: Path, split: str, counts, classes=3, size=(8, 8), first=0) -> list[Path]:
    """Write shards of `counts` samples; sample i of a split is of class i % classes."""
    tars, number = [], first
    for shard, count in enumerate(counts):
        members: dict[str, bytes] = {}
        for _ in range(count):
            members[f"{number:04d}.jpg"] = jpeg(number % 256, size)
            members[f"{number:04d}.cls"] = str(number % classes).encode()
            number += 1
        tars.append(write_tar(folder / f"some-{split}-{shard:03d}.tar", members))
    return tars
