"""Writes small folders of images with masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def picture(path: Path, size=(12, 8), seed=0, mode="RGB") -> Path:
    """An image of noise. size: (W, H)"""
    shape = (size[1], size[0], 3) if mode == "RGB" else (size[1], size[0])
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    return save(path, pixels)


def mask_of(values, size=(12, 8), seed=0) -> np.ndarray:
    """Every value in some pixels; colours are triples. Shape: (H, W) or (H, W, 3)"""
    values = np.asarray(values, np.uint8)
    places = np.random.default_rng(seed).integers(len(values), size=(size[1], size[0]))
    places.reshape(-1)[: len(values)] = range(len(values))
    return values[places]


def save(path: Path, pixels: np.ndarray, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


def write_pairs(root: Path, count=10, values=(0, 255), size=(12, 8)) -> None:
    """images/00.png with masks/00.png, and so on."""
    for number in range(count):
        picture(root / "images" / f"{number:02d}.png", size, number)
        save(root / "masks" / f"{number:02d}.png", mask_of(values, size, number))
