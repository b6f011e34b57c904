"""Stratified splits that depend on the labels (see experiments.data.strata) and a seed alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from experiments.config.data import DataConfig
from experiments.data.containers import Datasets, ImageDataset, Joined, Part
from experiments.data.given import as_dataset
from experiments.data.seeding import derive_seed
from experiments.data.strata import strata_of
from experiments.errors import DataError

# Test images never change, whatever data.split_seed: a test score must stay comparable.
TEST_SEED = 0
TEST_FRACTION = 0.2
_PURPOSES = {"test": 0, "validation": 1, "train_size": 2}


def stratified_sample(targets: np.ndarray, size: int, seed: int) -> np.ndarray:
    """Return `size` sorted indices, each class in proportion (largest remainder).

    Classes that rounding up would take whole come last, so that what remains still knows them.
    Not scikit-learn's train_test_split, which refuses classes of a single image and parts with
    fewer images than there are classes.

    Shapes: targets (N,), result (size,), 0 <= size <= N.
    """
    _, inverse, counts = np.unique(targets, return_inverse=True, return_counts=True)
    quota, remainder = np.divmod(counts * size, len(targets))
    generator = np.random.default_rng(seed)
    tie = generator.random(len(counts))
    order = np.lexsort((tie, -remainder, quota + 1 >= counts))
    quota[order[: size - quota.sum()]] += 1
    shuffled = generator.permutation(len(targets))
    by_class = shuffled[np.argsort(inverse[shuffled], kind="stable")]
    starts = np.cumsum(counts) - counts
    chosen = [by_class[start : start + q] for start, q in zip(starts, quota, strict=True)]
    return np.sort(np.concatenate(chosen))


def hold_out(dataset: ImageDataset, fraction: float, seed: int, purpose: str) -> tuple[Part, Part]:
    """Split a dataset into (the rest, a stratified `fraction` of it), without overlap.

    Raises: DataError if the fraction of so few images is none, or all of them.
    """
    targets = strata_of(dataset)
    size = round(fraction * len(targets))
    if not 0 < size < len(targets):
        raise DataError(
            f"a {purpose} split of {fraction:g} of {len(targets)} images would leave one side "
            "empty: give more images"
            + (" or another data.validation_fraction" if purpose == "validation" else "")
        )
    chosen = stratified_sample(targets, size, derive_seed(seed, _PURPOSES[purpose]))
    rest = np.setdiff1d(np.arange(len(targets)), chosen)
    return Part(dataset, rest), Part(dataset, chosen)


def join(train: ImageDataset, validation: ImageDataset) -> ImageDataset:
    """All images of two splits; of parts of one dataset a part again, in that dataset's order."""
    if isinstance(train, Part) and isinstance(validation, Part) and train.base is validation.base:
        return Part(train.base, np.union1d(train.indices, validation.indices))
    return Joined(train, validation)


def split_off_test(dataset: Any, cfg: DataConfig | None = None) -> tuple[Part, Part]:
    """Return (train, test) of images published without a split: the same 20 % in every run.

    dataset: of any kind that get_data may return; cfg names the columns of rows.
    """
    whole = as_dataset(dataset, cfg or DataConfig(), "whole")
    return hold_out(whole, TEST_FRACTION, TEST_SEED, "test")


def complete_splits(
    cfg: DataConfig,
    train: Any,
    test: Any,
    validation: Any = None,
) -> Datasets:
    """Return the three splits of a dataset that has two, and apply data.train_size.

    Each may be of any kind that get_data may return, see experiments.data.given.

    Validation images are a stratified data.validation_fraction of train, unless given. The split
    depends on the labels and data.split_seed alone; a `get_data` of your own may call this.

    Raises: DataError if data.train_size exceeds the training images that remain.
    """
    train, test = as_dataset(train, cfg, "train"), as_dataset(test, cfg, "test")
    if validation is not None:
        validation = as_dataset(validation, cfg, "validation")
    else:
        train, validation = hold_out(train, cfg.validation_fraction, cfg.split_seed, "validation")
    if cfg.train_size is not None:
        if cfg.train_size > len(train):
            raise DataError(
                f"data.train_size={cfg.train_size}: only {len(train)} training images are left "
                f"after the validation split; give at most {len(train)}, or null for all"
            )
        seed = derive_seed(cfg.split_seed, _PURPOSES["train_size"])
        train = Part(train, stratified_sample(strata_of(train), cfg.train_size, seed))
    return Datasets(train, validation, test)
