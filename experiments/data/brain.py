"""Tissues of the MNI152 template brain, which the package nilearn carries: no download."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product

import numpy as np
import torch

from experiments.config.data import DataConfig
from experiments.data.containers import Datasets
from experiments.data.extras import import_extra
from experiments.data.known import Published
from experiments.data.masks import TensorMasks
from experiments.data.splits import TEST_FRACTION, complete_splits
from experiments.errors import ConfigError

CLASSES = ("background", "grey matter", "white matter", "fluid")
GAP = 4  # mm between slabs of different splits
PERIODS = 3  # slabs of each split for slices
SIDES = {2: 128, 3: 32}  # image_size where none is asked for
LEAST = 8  # voxels of a cube's side
_BRAIN = 0.1  # share of a slice or patch that is brain, at least

Slabs = dict[str, list[tuple[int, int]]]  # {split: (first, end) in mm from the lowest slice}


def load_mni152(cfg: DataConfig) -> Datasets:
    """T1 intensities and tissues at 1 mm: axial slices (data.ndim=2) or cubes (data.ndim=3).

    A voxel is grey or white matter where that map is larger than the other and than 1/2, fluid in
    the rest of the brain, and background outside. Slices are padded to squares of 233 pixels; cubes
    have data.image_size voxels a side, those of train overlapping by half.

    There is one brain, the average of 152 people, so that all figures are optimistic: it is split
    by slabs of slices with a gap of 4 mm, three slabs of each split for slices and one for cubes,
    and neighbouring slabs still show the same folds. For trying things, not for comparing them with
    published scores.

    Raises: DataError if nilearn is not installed; ConfigError for cubes that the slabs do not hold.
    """
    image, tissue = _read_template()
    image, tissue = (array.transpose(2, 1, 0)[:, ::-1] for array in (image, tissue))  # z, y, x
    inside = [np.flatnonzero((tissue > 0).any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1))]
    (first, end), *plane = ((int(axis[0]), int(axis[-1]) + 1) for axis in inside)
    if cfg.ndim == 3:
        side = cfg.square() or SIDES[3]
        if side < LEAST:
            raise ConfigError(f"data.image_size={side}: a cube has {LEAST} voxels a side or more")
        slabs = _slabs(first, end, 1, cfg.validation_fraction, side)
        places = {
            split: list(_cubes(tissue, slabs[split], plane, side, split == "train"))
            for split in slabs
        }
    else:
        height = max(image.shape[1:])
        image, tissue = (_to_square(array, height) for array in (image, tissue))
        slabs = _slabs(first, end, PERIODS, cfg.validation_fraction, 1)
        places = {split: list(_slices(tissue, slabs[split])) for split in slabs}
    made = {split: _gather(image, tissue, places[split]) for split in places}
    return complete_splits(cfg, made["train"], made["test"], made["validation"])


def _read_template() -> tuple[np.ndarray, np.ndarray]:
    """Intensities and classes, uint8. Axes: left to right, back to front, bottom to top."""
    nilearn = import_extra("nilearn.datasets", "data=mni152")
    t1, grey, white = (
        np.asarray(load(resolution=1).dataobj, np.float32)
        for load in (
            nilearn.load_mni152_template,
            nilearn.load_mni152_gm_template,
            nilearn.load_mni152_wm_template,
        )
    )
    brain = np.asarray(nilearn.load_mni152_brain_mask(resolution=1).dataobj) > 0
    tissue = np.where(brain, 3, 0).astype(np.uint8)
    tissue[brain & (grey > 0.5) & (grey >= white)] = 1
    tissue[brain & (white > 0.5) & (white > grey)] = 2
    return np.clip(255 * t1, 0, 255).round().astype(np.uint8), tissue


def _slabs(first: int, end: int, periods: int, fraction: float, least: int) -> Slabs:
    """Cut [first, end) into periods of train, validation and test with gaps between all of them.

    least: slices that each slab has.
    """
    slabs: Slabs = {"train": [], "validation": [], "test": []}
    room = (end - first - GAP * (3 * periods - 1)) // periods
    test = max(least, round(TEST_FRACTION * room))
    validation = max(least, round(fraction * (room - test)))
    sizes = {"train": room - test - validation, "validation": validation, "test": test}
    if sizes["train"] < least:
        raise ConfigError(
            f"data.image_size={least}: the brain's {end - first} slices, cut into three slabs with "
            f"gaps, hold cubes of at most {room // 3}; use data.image_size={room // 3} or less"
        )
    at = first
    for _ in range(periods):
        for split, size in sizes.items():
            slabs[split].append((at, at + size))
            at += size + GAP
    return slabs


def _slices(tissue: np.ndarray, slabs: Sequence[tuple[int, int]]) -> Iterator[tuple]:
    for z in (z for start, end in slabs for z in range(start, end)):
        if (tissue[z] > 0).mean() >= _BRAIN:
            yield (z,)


def _cubes(
    tissue: np.ndarray,
    slabs: Sequence[tuple[int, int]],
    plane: Sequence[tuple[int, int]],
    side: int,
    overlapping: bool,
) -> Iterator[tuple]:
    stride = max(side // 2, 1) if overlapping else side
    for slab in slabs:
        for corner in product(*(_starts(*axis, side, stride) for axis in (slab, *plane))):
            place = tuple(slice(start, start + side) for start in corner)
            if (tissue[place] > 0).mean() >= _BRAIN:
                yield place


def _starts(first: int, end: int, side: int, stride: int) -> list[int]:
    """Where cubes begin that cover [first, end): the last one ends with it."""
    return sorted({*range(first, end - side, stride), end - side})


def _to_square(volume: np.ndarray, side: int) -> np.ndarray:
    """Zeros around each slice. Shapes: (D, H, W) -> (D, side, side)."""
    spare = [side - length for length in volume.shape[1:]]
    return np.pad(volume, [(0, 0), *((s // 2, s - s // 2) for s in spare)])


def _gather(image: np.ndarray, tissue: np.ndarray, places: Sequence[tuple]) -> TensorMasks:
    images, masks = (np.stack([array[place] for place in places]) for array in (image, tissue))
    known = Published(image_size=SIDES[masks.ndim - 1] if masks.ndim == 3 else None)
    return TensorMasks(torch.from_numpy(images)[:, None], torch.from_numpy(masks), CLASSES, known)
