"""Reads whole batches; runs in the main process or in the loader's workers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import default_collate

from experiments.data.containers import ImageDataset, in_memory, locate
from experiments.data.info import DataInfo
from experiments.data.seeding import (
    derive_seed,
    one_thread,
    preserved_generators,
    seed_generators,
)
from experiments.data.transforms import Mix, Pipeline
from experiments.errors import DataError, UserError

MicroBatch = tuple[Tensor, Tensor]


class BatchKey(NamedTuple):
    """Which images to read, and the coordinates that their random changes derive from."""

    epoch: int
    indices: Sequence[int]
    mix_seed: int = 0


class BatchReader:
    """A map-style dataset of whole batches: a key in, transformed images and targets out.

    Each image's random changes derive from (seed, epoch, index), a batch's mixing from its
    mix_seed, so a batch is the same whichever process reads it and whatever was read before.
    The caller's generators are left as they were.
    """

    def __init__(
        self,
        dataset: ImageDataset,
        pipeline: Pipeline,
        info: DataInfo,
        *,
        seed: int = 0,
        mix: Mix | None = None,
    ) -> None:
        self.dataset = dataset
        self.pipeline = pipeline
        self.info = info
        self.seed = seed
        self.mix = mix
        self._held = None if pipeline.random else in_memory(dataset)

    def __getitem__(self, key: BatchKey) -> MicroBatch | UserError:
        # An error is returned, not raised: torch would raise it anew in the main process with the
        # worker's traceback in place of its message.
        try:
            with one_thread():
                return self._read(key)
        except UserError as error:
            return error

    def _read(self, key: BatchKey) -> MicroBatch:
        if self._held is not None and self.mix is None:
            return self._whole(key)  # nothing random: no generator to preserve
        with preserved_generators():
            images, targets = self._each(key) if self._held is None else self._whole(key)
            if self.mix is not None:
                seed_generators(key.mix_seed)
                images, targets = self.mix(images, targets)
            return images, targets

    def _whole(self, key: BatchKey) -> MicroBatch:
        """Read the batch with a few operations on tensors: nothing in it is random."""
        assert self._held is not None
        tensors, indices = self._held
        chosen = torch.from_numpy(indices[np.asarray(key.indices, dtype=np.int64)])
        targets = tensors.targets[chosen]
        self._check(targets, key)
        return self.pipeline(tensors.images[chosen]), targets

    def _each(self, key: BatchKey) -> MicroBatch:
        images, targets = default_collate([self._sample(key.epoch, i) for i in key.indices])
        self._check(targets, key)
        return self.pipeline.normalise(images), targets

    def _sample(self, epoch: int, index: int) -> tuple[Tensor, int]:
        seed_generators(derive_seed(self.seed, epoch, index))
        try:
            image, label = self.dataset[index]
        except OSError as error:  # a dataset of the user's own that cannot read a file
            raise DataError(f"cannot read {locate(self.dataset, index)}: {error}") from error
        try:
            return self.pipeline.changes(image), int(label)
        except DataError as error:
            raise DataError(f"{locate(self.dataset, index)}: {error}") from error

    def _check(self, targets: Tensor, key: BatchKey) -> None:
        wrong = ((targets < 0) | (targets >= self.info.num_classes)).nonzero()
        if len(wrong):
            first = int(wrong[0])
            raise DataError(
                f"{locate(self.dataset, key.indices[first])} has the label {int(targets[first])}, "
                f"but there are {self.info.num_classes} classes: labels must be 0 to "
                f"{self.info.num_classes - 1}; set data.num_classes if there are more"
            )
