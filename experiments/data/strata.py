"""What splits are balanced by: the class of each image, where it has one."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from experiments.data.containers import ImageDataset, labels_of, offered_targets, part_of
from experiments.data.masks import CLASS, target_kind


def strata_of(dataset: ImageDataset) -> np.ndarray:
    """Labels, by their places among the sorted ones where they are names; else `strata` where the
    dataset has them; nothing (all 0) for masks, numbers and images with several labels.

    Shape: (N,). Raises: DataError for a label that is none of these.
    """
    if target_kind(dataset) == CLASS:
        targets = offered_targets(dataset)
        if targets is None:
            targets = [dataset[index][1] for index in range(len(dataset))]
        if all(isinstance(target, str) for target in targets):
            return np.unique(np.asarray(targets, dtype=str), return_inverse=True)[1]
        if len(targets) and _is_class(targets[0]):
            return labels_of(dataset)
    share = part_of(dataset)
    if share is not None:
        return strata_of(share[0])[share[1]]
    strata = getattr(dataset, "strata", None)
    return np.zeros(len(dataset), np.int64) if strata is None else np.asarray(strata, np.int64)


def _is_class(target: Any) -> bool:
    """Whether a target is meant as a class, perhaps by mistake: no fraction, and not several."""
    if isinstance(target, (Tensor, np.ndarray, np.generic)):
        array = np.asarray(target)
        return array.ndim == 0 and array.dtype.kind in "bui"
    return not isinstance(target, (float, list, tuple, set, frozenset))
