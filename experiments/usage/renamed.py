"""Data whose classes are named as a trained network knows them, in whatever order they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from experiments.data.containers import Datasets, offered_targets
from experiments.data.labels import class_index
from experiments.data.masks import MASK, class_mask, target_kind
from experiments.data.notes import join_names, say
from experiments.errors import ConfigError


def as_trained(datasets: Datasets, names: Sequence[str]) -> Datasets:
    """The splits, their classes in the order of `names`; some may be absent.

    Classes of other names are compared by their order if there are as many, and one line says so.
    Raises: ConfigError: there are more classes, or others, than the network knows.
    """
    own = [str(name) for name in getattr(datasets.train, "classes", ())]
    if not names or not own or own == list(names):
        return datasets
    unknown = [name for name in own if name not in set(names)]
    if not unknown:
        indices = np.array([list(names).index(name) for name in own])
        return Datasets(*(Renamed(split, indices, names) for split in datasets))
    if len(own) == len(names):
        say(
            f"the classes are called {join_names(own)}, and the network's {join_names(names)}: "
            "they are taken for one another in this order"
        )
        return Datasets(*(Renamed(split, np.arange(len(own)), names) for split in datasets))
    raise ConfigError(
        f"the data have {len(own)} classes, and the network knows {len(names)}: "
        f"{join_names(unknown)} {'are' if len(unknown) > 1 else 'is'} none of them. Give data with "
        f"classes of these names: {join_names(list(names))}"
    )


class Renamed:
    """A split whose class i is class indices[i] of the network, in labels and masks alike."""

    def __init__(self, base: Any, indices: np.ndarray, names: Sequence[str]) -> None:
        self.base, self.indices, self.classes = base, indices, list(names)
        self.is_mask = target_kind(base) == MASK
        offered = None if self.is_mask else offered_targets(base)
        flat = isinstance(offered, np.ndarray) and offered.ndim == 1 and offered.dtype.kind in "bui"
        self.targets = indices[offered] if flat else None
        self.labels = None

    def __getattr__(self, name: str) -> Any:
        if name == "base" or name.startswith("__"):
            raise AttributeError(name)
        found = getattr(self.base, name)
        if name == "sampled":
            return {index: self._renamed(target) for index, target in found.items()}
        if name == "ignore_index" and found is not None and 0 <= found < len(self.indices):
            return int(self.indices[found])  # a class, as which its pixels are numbered
        return found

    def __len__(self) -> int:
        return len(self.base)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        image, target = self.base[index]
        return image, self._renamed(target)

    def _renamed(self, target: Any) -> Any:
        if not self.is_mask:
            label = class_index(target)
            return int(self.indices[label]) if 0 <= label < len(self.indices) else label
        mask = class_mask(target).long()
        table = torch.from_numpy(self.indices)
        known = (mask >= 0) & (mask < len(table))
        return torch.where(known, table[mask.clamp(0, len(table) - 1)], mask)
