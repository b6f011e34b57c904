"""Reads whole batches; runs in the main process or in the loader's workers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from experiments.data.containers import ImageDataset, in_memory, locate
from experiments.data.recipe import Batch, Recipe
from experiments.data.seeding import (
    derive_seed,
    one_thread,
    preserved_generators,
    seed_generators,
)
from experiments.errors import DataError, UserError, in_words, shortage


class BatchKey(NamedTuple):
    """Which samples to read, and the coordinates that their random changes derive from.

    Of N images, sample i + c * N is copy c of image i: the same one, changed in another way.
    """

    epoch: int
    samples: Sequence[int]
    mix_seed: int = 0


class BatchReader:
    """A map-style dataset of whole batches: a key in, transformed images and targets out.

    Each image's random changes derive from (seed, epoch, sample), a batch's mixing from its
    mix_seed, so a batch is the same whichever process reads it and whatever was read before.
    The caller's generators are left as they were.
    """

    def __init__(self, dataset: ImageDataset, recipe: Recipe, *, seed: int = 0) -> None:
        self.dataset, self.recipe, self.seed = dataset, recipe, seed
        self._held = in_memory(dataset) if recipe.whole_batches else None

    def __getitem__(self, key: BatchKey) -> Batch | UserError:
        # An error is returned, not raised: torch would raise it anew in the main process with the
        # worker's traceback in place of its message.
        try:
            with one_thread(), in_words():
                return self._read(key)
        except UserError as error:
            return error

    def _read(self, key: BatchKey) -> Batch:
        mix = self.recipe.mix
        if self._held is not None and mix is None:
            return self._whole(key)  # nothing random: no generator to preserve
        with preserved_generators():
            inputs, targets = self._each(key) if self._held is None else self._whole(key)
            if mix is not None:
                seed_generators(key.mix_seed)
                inputs, targets = mix(inputs, targets)
            return inputs, targets

    def _whole(self, key: BatchKey) -> Batch:
        """Read the batch with a few operations on tensors: nothing in it is random."""
        assert self._held is not None
        tensors, indices = self._held
        samples = np.asarray(key.samples, dtype=np.int64)
        chosen = torch.from_numpy(indices[samples % len(self.dataset)])
        targets = tensors.targets[chosen]
        self._check(targets, key)
        return self.recipe.finish(*self.recipe.prepare(tensors.images[chosen], targets))

    def _each(self, key: BatchKey) -> Batch:
        samples = [self._sample(key.epoch, i) for i in key.samples]
        inputs, targets = self.recipe.collate(samples)
        self._check(targets, key)
        return self.recipe.finish(inputs, targets)

    def _sample(self, epoch: int, sample: int) -> tuple[Any, Any]:
        seed_generators(derive_seed(self.seed, epoch, sample))
        index = sample % len(self.dataset)
        try:
            source, target = self.dataset[index]
        except OSError as error:  # a dataset of the user's own that cannot read a file
            raise shortage(error) or DataError(
                f"cannot read {locate(self.dataset, index)}: {error}"
            ) from error
        try:
            return self.recipe.prepare(source, target)
        except DataError as error:
            raise DataError(f"{locate(self.dataset, index)}: {error}") from error

    def _check(self, targets: Any, key: BatchKey) -> None:
        wrong = self.recipe.check(targets)
        if wrong is not None:
            first, rule = wrong
            index = key.samples[first] % len(self.dataset)
            raise DataError(f"{locate(self.dataset, index)} {rule}")
