"""What a network of volumes must be shown: any scan in, the voxels out that its test split saw."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from experiments.data.file_images import in_words_of
from experiments.data.mask_transforms import normalised
from experiments.data.transforms import normalise
from experiments.data.volumes import VOLUMES, Volume, admit_volume, is_volume, read_volume
from experiments.errors import DataError
from experiments.tasks.answers import Answers
from experiments.usage.standalone import VOLUME_PROGRAM
from experiments.usage.transform import REMEDY, Transform, picture_of, save_picture
from models.description import Description

VISIBLE, MOST = 192, 1024  # pixels of the longest side of a volume in a picture
GAP = 4  # pixels between planes


class VolumeTransform(Transform):
    """A volume as the network must be shown it: (voxel in [0, 1] - mean) / std, at its own size.

    It takes a path (.npy, .nii, .nii.gz), an array or a tensor, (D, H, W) or (C, D, H, W); voxels
    are uint8, uint16 or floats in [0, 1], and no other intensities: the rule that brings them
    there is that of the data of training. A NIfTI file is (x, y, z) or (x, y, z, C) in any
    orientation; the network sees it from bottom to top, front to back, left to right.

    Larger volumes than the cubes of training go through the network in windows (run.answers.outputs
    does it); none is resized.

    Shapes: -> (input_channels, D, H, W) float32.
    Raises: DataError for what is no such volume, or cannot be read.
    """

    what, extensions, at_once = "volume", VOLUMES, 1
    program = VOLUME_PROGRAM

    def __init__(self, description: Description) -> None:
        super().__init__(description)
        assert self.rule is not None
        self._normalise = normalise(self.rule)

    def admit(self, given: Any) -> Volume:
        """The volume at its own size, uint8 or float32 in [0, 1]. Shape: (C, D, H, W)."""
        if not isinstance(given, (str, Path)):
            with in_words_of(lambda: f"the {type(given).__name__} given", REMEDY, "volume"):
                return Volume(self._admit(given))
        if not is_volume(given):
            raise DataError(
                f"{given} is no file of a volume ({', '.join(VOLUMES)}): the network takes volumes "
                f"{self._axes}; give one, or an array to run.transform(array)"
            )
        with in_words_of(lambda: str(given), REMEDY, "volume"):
            stored = read_volume(Path(given))
            return replace(stored, voxels=self._admit(stored.voxels))

    def prepare(self, admitted: Volume) -> Tensor:
        return normalised(self._normalise, admitted.voxels[None])[0]

    def picture(self, admitted: Volume) -> Image.Image:
        """Its three middle planes, the brightest voxel of them white."""
        voxels = admitted.voxels.float()
        shown = planes(voxels, admitted.spacing)
        return picture_of(shown / (float(shown.max()) or 1.0))

    def maps(self, admitted: Volume, output: Tensor) -> Tensor:
        return planes(output, admitted.spacing)

    def write(self, answers: Answers, admitted: Volume, output: Tensor, place: Path) -> list[Path]:
        voxels = answers.voxels(output)
        pictures = answers.files(self.picture(admitted), self.maps(admitted, output))
        return [
            admitted.write(voxels[word], place.with_name(f"{place.name}_{word}"))
            if word in voxels
            else save_picture(picture, place, word)
            for word, picture in pictures.items()
        ]

    @property
    def _axes(self) -> str:
        """The axes of a volume, of those that may have no axis of channels too."""
        return f"({self.channels}, D, H, W)" + " or (D, H, W)" * (self.channels == 1)

    def _admit(self, given: Any) -> Tensor:
        if not isinstance(given, (np.ndarray, Tensor)):
            raise DataError(
                f"is no volume: give a path ({', '.join(VOLUMES)}), an array or a tensor "
                f"{self._axes}"
            )
        shape = tuple(given.shape)
        whole = given[None] if len(shape) == 3 else given
        if len(shape) not in (3, 4) or len(whole) != self.channels:
            last = len(shape) == 4 and shape[3] == self.channels
            raise DataError(
                f"is an array of shape {shape}: the network takes {self._axes}"
                + "; give numpy.moveaxis(array, 3, 0)" * last
            )
        try:
            admitted: Tensor = admit_volume(whole)
        except DataError as error:
            raise DataError(f"{error}; the rule is that of the volumes of training") from error
        return admitted.contiguous()


def planes(values: Tensor, spacing: tuple[float, ...]) -> Tensor:
    """The middle planes of a volume side by side: (H, W), (D, W) and (D, H), D upwards.

    Voxels are as large as their spacing says, by the nearest one; there is 0 around the planes.

    Shapes: (C, D, H, W) -> (C, h, w).
    """
    known = all(0 < length < float("inf") for length in spacing)
    lengths = torch.tensor(spacing if known else (1.0, 1.0, 1.0))
    longest = float((lengths * torch.tensor(values.shape[1:])).max())
    scale = min(max(1 / float(lengths.min()), VISIBLE / longest), MOST / longest)
    tiles = []
    for axis in (0, 1, 2):
        cut = values.select(axis + 1, values.shape[axis + 1] // 2)
        cut = cut if axis == 0 else cut.flip(1)
        rest = lengths[[other for other in (0, 1, 2) if other != axis]]
        sides = (rest * torch.tensor(cut.shape[1:]) * scale).round().clamp(min=1).int().tolist()
        tiles.append(F.interpolate(cut[None].float(), sides, mode="nearest-exact")[0])
    height = max(tile.shape[1] for tile in tiles)
    padded = [F.pad(tile, (0, GAP, 0, height - tile.shape[1])) for tile in tiles]
    return torch.cat(padded, 2)[..., :-GAP]
