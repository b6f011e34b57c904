"""Labels that are names become classes: the same integers in all splits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from experiments.data.containers import TensorImages, locate, offered_targets
from experiments.data.given import peek
from experiments.data.known import Published
from experiments.data.notes import MANY, say
from experiments.data.wrapped import Wrapped
from experiments.errors import DataError, nearest


class Named(Wrapped):
    """A dataset whose labels are names, given as their places in `classes`.

    A label is a name; or, of an image with several, a list, tuple or set of them.
    """

    def __init__(self, base: Any, classes: Sequence[str], split: str) -> None:
        super().__init__(base)
        self.classes, self.split = list(classes), split
        self.places = {name: place for place, name in enumerate(self.classes)}
        offered = offered_targets(base)
        if offered is not None and len(offered) and are_names(offered[0]):
            found = [self.place(label, index) for index, label in enumerate(offered)]
            self.targets = np.array(found) if isinstance(found[0], int) else found

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        image, label = self.base[index]
        return image, self.place(label, index)

    def place(self, label: Any, index: int) -> Any:
        """The place of a name, or of each of several. Raises: DataError for one that is none."""
        if isinstance(label, (list, tuple, set, frozenset)):
            return [self.place(name, index) for name in sorted(map(_text, label))]
        if not isinstance(label, str) or label not in self.places:
            near = nearest(label, self.classes) if isinstance(label, str) else ""
            raise DataError(
                f"{self.split} image {index} ({locate(self.base, index)}) has the label "
                f"{label!r}, which is none of the {len(self.classes)} classes of the training "
                f"images{near or ': labels are names, or integers, in all splits alike'}"
            )
        return self.places[label]


def _text(label: Any) -> str:
    return label if isinstance(label, str) else repr(label)


def name_labels(splits: Sequence[Any], names: Sequence[str]) -> list[Any]:
    """Put integers in place of labels that are names, if those of train (the first split) are.

    The classes are those that train states as `classes`, else the names that occur in it, sorted.
    names: of the splits.

    Raises: DataError for a name that train does not have.
    """
    train = splits[0]
    first = peek(train)
    pair = isinstance(first, (tuple, list)) and len(first) == 2
    if not pair or not are_names(first[1]):
        return list(splits)
    classes = [str(name) for name in getattr(train, "classes", ())]
    classes = classes or sorted({name for label in _labels(train, first[1]) for name in label})
    return [_named(part, classes, split) for part, split in zip(splits, names, strict=True)]


def are_names(label: Any) -> bool:
    """Whether a label is a name, or several."""
    if isinstance(label, (list, tuple, set, frozenset)):
        return bool(label) and all(isinstance(name, str) for name in label)
    return isinstance(label, str)


def _labels(dataset: Any, first: Any) -> Iterator[tuple[str, ...]]:
    """The names of each item; read where they are not offered, or others than the item has."""
    offered = offered_targets(dataset)
    if offered is None or offered[0] != first:
        if len(dataset) > MANY:
            say(
                f"reading all {len(dataset)} training images for the names of their classes; "
                "attributes `targets`, or `classes`, of the dataset save this"
            )
        offered = (dataset[index][1] for index in range(len(dataset)))
    for label in offered:
        yield (str(label),) if isinstance(label, str) else tuple(map(_text, label))


def _named(dataset: Any, classes: list[str], split: str) -> Any:
    named = Named(dataset, classes, split)
    if isinstance(dataset, TensorImages) and named.targets is not None:  # read in whole batches
        known = Published(dataset.mean, dataset.std, dataset.image_size)
        return TensorImages(dataset.images, torch.from_numpy(named.targets), classes, known)
    return named
