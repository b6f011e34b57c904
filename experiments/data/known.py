"""What is known of a dataset beforehand, and the names under which datasets carry it."""

from __future__ import annotations

from typing import NamedTuple


class Published(NamedTuple):
    """What is known of a dataset beforehand; None is found out from its training images."""

    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    image_size: int | None = None


UNKNOWN = Published()
# what parts of a dataset know of it
KNOWN = (
    "classes", "mean", "std", "image_size", "targets_are", "ignore_index", "ndim", "target_names",
)  # fmt: skip
