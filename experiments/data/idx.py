"""Reads the four idx files of MNIST and of Fashion-MNIST, compressed or not."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
import torch

from experiments.data.containers import TensorImages
from experiments.data.download import damaged

IDX_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def find_idx(folder: Path, name: str) -> Path | None:
    """Return the path of an idx file in folder, as it is or with .gz; None if absent."""
    candidates = (folder / name, folder / f"{name}.gz")
    return next((path for path in candidates if path.is_file()), None)


def has_idx_files(folder: Path) -> bool:
    """Tell whether all four files are in folder."""
    return all(find_idx(folder, name) for name in IDX_FILES)


def read_idx(path: Path, axes: int) -> np.ndarray:
    """Read unsigned bytes in idx format: 0, 0, 8, number of axes, sizes (big-endian), values.

    Raises: DataError if the file is no such thing, has other axes or is cut short, naming it.
    """
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise damaged(path, error) from error
    if len(raw) < 4 + 4 * axes or raw[:4] != bytes((0, 0, 8, axes)):
        raise damaged(path, f"it does not start as an idx file of bytes with {axes} axes")
    shape = np.frombuffer(raw, ">u4", axes, 4).tolist()
    values = np.frombuffer(raw, np.uint8, offset=4 + 4 * axes)
    if values.size != math.prod(shape):  # Python's integers: those of arrays overflow
        raise damaged(path, f"it holds {values.size} values, its header says {math.prod(shape)}")
    return values.reshape(shape)


def read_idx_images(folder: Path, part: str, classes: list[str]) -> TensorImages:
    """Read the images and labels of part 'train' or 't10k'. Shapes: (N, 1, H, W), (N,).

    Raises: DataError if images and labels do not belong together.
    """
    paths = [find_idx(folder, name) for name in IDX_FILES if name.startswith(part)]
    assert paths[0] is not None and paths[1] is not None  # has_idx_files was true
    images, labels = read_idx(paths[0], 3), read_idx(paths[1], 1)
    if labels.shape != images.shape[:1]:
        raise damaged(paths[0], f"its shape {images.shape} does not match labels {labels.shape}")
    if labels.size and labels.max() >= len(classes):
        raise damaged(paths[1], f"it holds the label {labels.max()} of {len(classes)} classes")
    tensor = torch.tensor(images).unsqueeze(1)
    return TensorImages(tensor, torch.tensor(labels).long(), classes)
