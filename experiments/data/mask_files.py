"""Images and masks that lie encoded in files, decoded together when asked for."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from experiments.data.file_images import (
    EncodedImages,
    Identity,
    identity_of,
    in_words_of,
    pack_names,
)
from experiments.data.images import DeepColour, open_image
from experiments.data.known import UNKNOWN, Published
from experiments.data.mask_table import MaskTable
from experiments.data.masks import MASK


class Pair(NamedTuple):
    """An image and the files of its mask, which are united; stratum: what splits balance."""

    image: Path
    masks: Sequence[Path]
    stratum: str = ""


class MaskFiles(EncodedImages):
    """Items (image, mask): an image as decoded, and its mask (H, W) uint8 by the table.

    Of several masks of one image the last that is not of the first class counts in each pixel.
    """

    targets_are = MASK

    def __init__(
        self, root: Path, pairs: Sequence[Pair], table: MaskTable, known: Published = UNKNOWN
    ) -> None:
        super().__init__(table.names, known)
        self.root, self.table, self.ignore_index = root, table, table.ignore_index
        self._images = pack_names(os.path.relpath(pair.image, root) for pair in pairs)
        self._masks = pack_names(os.path.relpath(mask, root) for p in pairs for mask in p.masks)
        self._ends = np.cumsum([len(pair.masks) for pair in pairs])
        self.strata = np.unique([pair.stratum for pair in pairs], return_inverse=True)[1]

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> tuple[Image.Image | DeepColour, Tensor]:
        mask = np.zeros(0, np.uint8)
        for path in self.mask_paths(index):
            layer = self._encode(path)
            mask = layer if not mask.size else np.where(layer == 0, mask, layer)
        return self.read(index), torch.from_numpy(mask)

    def _encode(self, path: Path) -> np.ndarray:
        with in_words_of(lambda: str(path), self.remedy):
            return self.table.encode(open_image(path))

    def open(self, index: int) -> Path:
        return self._path(self._images[index])

    def mask_paths(self, index: int) -> list[Path]:
        """The files of one mask."""
        start = int(self._ends[index - 1]) if index else 0
        return [self._path(name) for name in self._masks[start : int(self._ends[index])]]

    def _path(self, name: np.bytes_) -> Path:
        return self.root / os.fsdecode(bytes(name))

    def locate(self, index: int) -> str:
        return str(self.open(index))

    def identify(self, index: int) -> Identity:
        """That of the image; its size counts those of its masks too."""
        files = [self.open(index), *self.mask_paths(index)]
        own, *masks = (identity_of(file, bytes(self._images[index])) for file in files)
        return own._replace(size=own.size + sum(mask.size for mask in masks))
