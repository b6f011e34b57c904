"""Loaders whose batches depend on where they stand in the run, and on nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from experiments.config.trainer import TrainerConfig
from experiments.data.balance import draw_equally
from experiments.data.containers import ImageDataset, Part
from experiments.data.reader import BatchKey, BatchReader
from experiments.data.recipe import Batch, Recipe
from experiments.data.seeding import Sampling, derive_seed
from experiments.errors import ConfigError, DataError, UserError, in_words, shortage
from experiments.machine import usable_cores


class _Plan:
    """The sampler torch sees: the batches that the coming iteration reads, set before it."""

    def __init__(self) -> None:
        self.keys: Iterable[BatchKey] = ()

    def __iter__(self) -> Iterator[BatchKey]:
        return iter(self.keys)


def _untouched(item: Any) -> Any:
    return item


def _next(items: Iterator[Any]) -> Any:
    try:
        return next(items, None)
    except Exception as error:
        if found := shortage(error):
            raise found from error
        if not isinstance(error, RuntimeError) or "DataLoader worker" not in str(error):
            raise
        raise DataError(
            f"a process that reads images ended ({error}). Most often memory ran out: use fewer "
            "data.workers (0 reads in the main process) or a smaller trainer.batch_size"
        ) from error


class _Batches:
    """Reads the batches of a plan in this process or in up to data.workers others.

    There are no more of them than cores: they would only wait for each other.
    """

    def __init__(self, reader: BatchReader, workers: int) -> None:
        self._reader = reader
        self._workers = min(workers, usable_cores())
        self.close()

    def read(self, keys: Iterable[BatchKey]) -> Iterator[Batch]:
        """Yield the batch of each key, in order; raise the UserError that a worker met."""
        self._plan.keys = keys
        with in_words():
            items = iter(self._loader)
        while (item := _next(items)) is not None:
            if isinstance(item, UserError):
                del items
                self.close()
                raise item
            inputs, targets = item
            yield inputs, targets

    def close(self) -> None:
        """End the worker processes; the next iteration starts new ones.

        Left to Python's collector of reference cycles it would take 5 seconds a worker, since that
        closes torch's queues before torch can tell the workers through them.
        """
        self._plan = _Plan()
        self._loader: DataLoader[Any] = DataLoader(
            self._reader,  # type: ignore[arg-type]  # maps keys, not integers
            sampler=self._plan,  # type: ignore[arg-type]
            batch_size=None,  # a key already is a whole batch
            collate_fn=_untouched,
            num_workers=self._workers,
            persistent_workers=self._workers > 0,
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator(),  # else each iteration draws from the run's generator
        )


@dataclass(frozen=True)
class _Schedule:
    """Which samples each micro-batch takes. Apart from the loader, whose workers hold on to it."""

    images: int
    batch_size: int
    accumulation: int
    sampling: Sampling
    rank: int
    world_size: int

    def order(self, epoch: int) -> np.ndarray:
        """The samples of an epoch, as many as there are images (see BatchKey)."""
        generator = torch.Generator().manual_seed(derive_seed(self.sampling.shuffle, epoch))
        if self.sampling.classes is not None:
            return draw_equally(self.sampling.classes, generator)
        images = torch.randperm(self.images, generator=generator).numpy()
        repeats = self.sampling.repeats
        return images if repeats == 1 else self._copies(images, repeats)

    def _copies(self, images: np.ndarray, repeats: int) -> np.ndarray:
        """The first images so many times each, a step's first copies before its second ones.

        Neighbours of a batch are mixed with each other, and slices go to several processes: both
        are to meet different images.
        """
        image, copy = np.divmod(np.arange(self.images), repeats)
        samples = images[image] + copy * self.images
        whole = self.images // self.batch_size * self.batch_size
        steps = samples[:whole].reshape(-1, self.batch_size)
        copy_by_copy = np.argsort(steps // self.images, axis=1, kind="stable")
        samples[:whole] = np.take_along_axis(steps, copy_by_copy, 1).reshape(-1)
        return samples

    def keys(self, epoch: int, order: np.ndarray, steps: range) -> Iterator[BatchKey]:
        size = self.batch_size // (self.world_size * self.accumulation)
        for step in steps:
            for micro in range(self.accumulation):
                first = step * self.batch_size + (micro * self.world_size + self.rank) * size
                mix_seed = derive_seed(self.sampling.mixup, epoch, step, micro, self.rank)
                yield BatchKey(epoch, order[first : first + size].tolist(), mix_seed)


class TrainLoader:
    """Micro-batches of training images, the same for any workers and after any restart.

    Step s of an epoch takes images perm[s*B : (s+1)*B], where perm depends on (seed, epoch) alone
    and B = batch_size counts the images of one optimizer step over all processes and
    micro-batches. Micro-batch m on rank r of P takes the slice (m*P + r)*b of those, of
    b = B / (P * accumulation) images. The last incomplete batch is dropped. Random changes derive
    from (seed, epoch, index) per image and from (seed, epoch, step, m, r) per mixed batch; the seed
    is that of the stream in `sampling`.

    With sampling.repeats=R an epoch has as many steps, of R copies of perm[0], then of perm[1], ...
    as far as they go; a step has its first copies in front. Copies of an image are changed
    differently.

    With sampling.classes perm has as many samples of each class: see draw_equally.

    With overfit_batches=n every epoch is the first n batches of epoch 0.

    Shapes: inputs (b, C, *S) float32; targets as the recipe makes them.

    Raises: ConfigError if B is no multiple of P * accumulation, exceeds the number of images, or
    if overfit_batches exceeds the number of batches.
    """

    def __init__(
        self,
        dataset: ImageDataset,
        recipe: Recipe,
        *,
        batch_size: int,
        accumulation: int,
        sampling: Sampling,
        rank: int,
        world_size: int,
        workers: int = 0,
        limit_steps: int | None = None,
        overfit_batches: int = 0,
    ) -> None:
        _check_batch(batch_size, accumulation, world_size, len(dataset), overfit_batches)
        self.dataset = dataset
        self.overfit_batches = overfit_batches
        self.accumulation = accumulation
        self._schedule = _Schedule(
            len(dataset), batch_size, accumulation, sampling, rank, world_size
        )
        steps = overfit_batches or len(dataset) // batch_size
        self.steps_per_epoch = steps if limit_steps is None else min(steps, limit_steps)
        self._batches = _Batches(BatchReader(dataset, recipe, seed=sampling.augment), workers)

    def epoch(self, epoch: int, start_step: int = 0) -> Iterator[list[Batch]]:
        """Yield, for each optimizer step from start_step, its micro-batches on this rank."""
        order = self._schedule.order(0 if self.overfit_batches else epoch)
        steps = range(start_step, self.steps_per_epoch)
        step: list[Batch] = []
        for micro_batch in self._batches.read(self._schedule.keys(epoch, order, steps)):
            step.append(micro_batch)
            if len(step) == self.accumulation:
                yield step
                step = []

    def seen_images(self) -> Part:
        """Return the images of epoch 0: with overfit_batches, of every epoch, to validate on."""
        count = self.steps_per_epoch * self._schedule.batch_size
        samples = self._schedule.order(0)[:count]
        return Part(self.dataset, samples % len(self.dataset))

    def close(self) -> None:
        """End the worker processes."""
        self._batches.close()


class EvaluationLoader:
    """Batches of every image once, in order, without augmentation or padding.

    Rank r of P reads images r, r + P, r + 2P, ...; its last batch may be smaller. `len` counts
    this rank's batches.

    Shapes: inputs (B, C, *S) float32; B <= batch_size; targets as the recipe makes them.
    """

    def __init__(
        self,
        dataset: ImageDataset,
        recipe: Recipe,
        *,
        batch_size: int,
        rank: int,
        world_size: int,
        workers: int = 0,
    ) -> None:
        indices = range(rank, len(dataset), world_size)
        starts = range(0, len(indices), batch_size)
        self._keys = [BatchKey(0, list(indices[start : start + batch_size])) for start in starts]
        self._batches = _Batches(BatchReader(dataset, recipe), workers)

    def __len__(self) -> int:
        return len(self._keys)

    def __iter__(self) -> Iterator[Batch]:
        return self._batches.read(self._keys)

    def close(self) -> None:
        """End the worker processes."""
        self._batches.close()


def check_batches(trainer: TrainerConfig, images: int, world_size: int) -> None:
    """Refuse, before there is a loader, what TrainLoader would refuse. Raises: ConfigError."""
    _check_batch(
        trainer.batch_size, trainer.accumulation, world_size, images, trainer.overfit_batches
    )


def _check_batch(
    batch_size: int, accumulation: int, world_size: int, images: int, overfit_batches: int
) -> None:
    unit = world_size * accumulation
    if batch_size % unit:
        lower = batch_size // unit * unit
        values = f"{lower} or {lower + unit}" if lower else str(unit)
        raise ConfigError(
            f"trainer.batch_size={batch_size}: must be a multiple of processes x "
            f"trainer.accumulation = {world_size} x {accumulation} = {unit}; use {values}"
        )
    if images < batch_size:
        most = max(images // unit * unit, unit)
        fewer = f"trainer.batch_size={most}{' or less' if most > unit else ''}"
        raise ConfigError(
            f"trainer.batch_size={batch_size}: there are only {images} training images, not one "
            f"batch; use {fewer}, or more images"
        )
    if overfit_batches * batch_size > images:
        raise ConfigError(
            f"trainer.overfit_batches={overfit_batches}: {images} training images make "
            f"{images // batch_size} batches of {batch_size}; use at most that many"
        )
