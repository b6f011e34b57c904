"""Volumes: voxels from arrays and files, and the files that masks of them are written to.

Files: .npy with the axes (D, H, W) or (C, D, H, W), and NIfTI, whose voxels are turned to the axes
of data=mni152, whatever the orientation of the file: bottom to top, front to back, left to right.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from experiments.config.data import DataConfig
from experiments.data.arrays import as_tensor
from experiments.data.extras import import_extra
from experiments.data.images import admit_tensor
from experiments.errors import DataError
from experiments.files import atomic_path

NIFTI = (".nii.gz", ".nii")
VOLUMES = (".npy", *NIFTI)  # what the names of files end in
AXES = "SPR"  # where the axes of an input point to: superior, posterior, right


def admit_volume(volume: Any) -> Any:
    """A volume as the platform goes on with it: uint8 as it is, uint16 and floats as float32.

    Shapes: tensors and arrays (C, D, H, W) are volumes; what is none comes back as it is.
    Raises: DataError for voxels of unknown range -> what was found and what to type.
    """
    if isinstance(volume, np.ndarray) and volume.ndim == 4:
        volume = as_tensor(volume)
    return admit_tensor(volume) if isinstance(volume, Tensor) and volume.ndim == 4 else volume


def is_volume(path: str | Path) -> bool:
    """Whether a file is one of volumes by its name."""
    return str(path).lower().endswith(VOLUMES)


def write_array(mask: np.ndarray, place: Path) -> Path:
    """Write a mask as place.npy; return the path. Raises: OSError."""
    path = place.with_name(f"{place.name}.npy")
    with atomic_path(path) as temporary:
        np.save(temporary, mask)
    return path


@dataclass(frozen=True)
class Volume:
    """Voxels, and how a mask of them is written.

    write(mask, place) writes the classes (D, H, W) of the voxels beside what they were read from,
    as that is stored, and returns the path, which is place and a suffix.

    Shapes: voxels (D, H, W), or with channels (C, D, H, W). Units: spacing in mm along D, H and W,
    of arrays in voxels.
    """

    voxels: Any
    write: Callable[[np.ndarray, Path], Path] = write_array
    spacing: tuple[float, ...] = (1.0, 1.0, 1.0)


def read_volume(path: Path) -> Volume:
    """Read a file of VOLUMES. Raises: what numpy and nibabel raise; DataError without nibabel."""
    if path.name.lower().endswith(NIFTI):
        return _read_nifti(path)
    with path.open("rb") as file:  # not np.load, which tells to unpickle what is no array
        return Volume(np.lib.format.read_array(file, allow_pickle=False))


def _read_nifti(path: Path) -> Volume:
    """Stored as (x, y, z) or (x, y, z, C) in any orientation; integers that it scales are floats.

    A mask goes back to the orientation and the affine of the file, as place.nii.gz.
    """
    nibabel = import_extra("nibabel", "(NIfTI)")
    turns = nibabel.orientations
    image = nibabel.load(path)
    array = np.asanyarray(image.dataobj)
    if array.ndim not in (3, 4):
        raise DataError(f"has {array.ndim} axes: they must be (x, y, z) or (x, y, z, channels)")
    if array.dtype == np.float64:  # of integers that are scaled 255 * float32(1 / 255) is above 1
        array = array.astype(np.float32)
    own, ours = turns.io_orientation(image.affine), turns.axcodes2ornt(AXES)
    there, back = turns.ornt_transform(own, ours), turns.ornt_transform(ours, own)

    def write(mask: np.ndarray, place: Path) -> Path:
        header = image.header.copy()
        header.set_data_dtype(mask.dtype)
        header["cal_min"] = header["cal_max"] = 0  # the intensities between which viewers show it
        made = type(image)(turns.apply_orientation(mask, back), image.affine, header)
        target = place.with_name(f"{place.name}.nii.gz")
        with atomic_path(target) as temporary:
            temporary.write_bytes(gzip.compress(made.to_bytes(), mtime=0))
        return target

    voxels = turns.apply_orientation(array, there)
    zooms = image.header.get_zooms()
    spacing = tuple(float(zooms[int(axis)]) for axis in back[:, 0])
    return Volume(voxels if array.ndim == 3 else np.moveaxis(voxels, 3, 0), write, spacing)


def check_volumes(cfg: DataConfig, channels: int, stored: tuple[int, ...] | None) -> None:
    """Refuse volumes that are no cubes of one side, and words that would change them.

    stored: their sides; None if they are of several sizes. Raises: DataError.
    """
    if cfg.channels not in (None, channels):
        raise DataError(
            f"data.channels={cfg.channels}: the volumes have {channels} channel(s), which are "
            "kept; type data.channels=null"
        )
    if cfg.resize == "pad":
        raise DataError(
            "data.resize=pad: volumes are never resized, so that there is nothing to pad; type "
            "data.resize=crop"
        )
    if isinstance(cfg.image_size, list):
        raise DataError(
            f"data.image_size={cfg.image_size}: volumes are cubes; type one number, as in "
            "data.image_size=32"
        )
    if stored is None or len(set(stored)) > 1:
        given = "of several sizes" if stored is None else "{} x {} x {}".format(*stored)
        raise DataError(f"the volumes are {given}: none is resized; give cubes of one side")
    if cfg.image_size not in (None, stored[0]):
        raise DataError(
            f"data.image_size={cfg.image_size}: the volumes have sides of {stored[0]}, and none is "
            f"resized; type data.image_size={stored[0]}"
        )
