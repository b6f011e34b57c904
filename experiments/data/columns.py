"""Rows with columns, as Hugging Face `datasets` gives them: which column is the image, which the
label."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from experiments.config.data import DataConfig
from experiments.data.notes import join_names
from experiments.data.wrapped import Wrapped
from experiments.errors import DataError, nearest

IMAGES = ("image", "img", "images", "pixel_values", "picture", "photo", "x")
LABELS = (
    "label", "labels", "target", "targets", "class", "y", "mask", "annotation",
    "segmentation_mask",
)  # fmt: skip


class Rows(Wrapped):
    """Two columns of rows: items (image, target). Names of the classes are those of the rows'
    features, where they have any."""

    def __init__(self, base: Any, image: str, label: str) -> None:
        super().__init__(base)
        self.image, self.label = image, label
        names = _names(base, label)
        if names:
            self.classes = names
        self.targets = _whole_column(base, label)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        row = self.base[index]
        lacking = [name for name in (self.image, self.label) if name not in row]
        if lacking:
            raise DataError(
                f"row {index} has no column {lacking[0]!r}, which the first row has: give all rows "
                "the same columns"
            )
        return row[self.image], row[self.label]


def find_columns(row: Mapping[str, Any], cfg: DataConfig, split: str) -> tuple[str, str]:
    """The names of the columns with images and with labels.

    Raises: DataError for a column that there is not, and where several may be meant.
    """
    columns = [str(name) for name in row]
    pictures = [name for name in columns if is_picture(row[name])]
    image = _column("image", cfg.image_column, columns, IMAGES, pictures, split)
    others = [name for name in columns if name != image]
    return image, _column("label", cfg.label_column, others, LABELS, others, split)


def column_values(table: Mapping[Any, Any], cfg: DataConfig, split: str) -> tuple[Any, Any]:
    """(images, targets) of a dict of columns.

    Raises: DataError for a dict that is none.
    """
    lengths = {len(column) if _is_column(column) else -1 for column in table.values()}
    if len(table) < 2 or len(lengths) != 1 or min(lengths) < 1:
        raise DataError(
            f"the {split} split is a {type(table).__name__} with the keys "
            f"{join_names([str(key) for key in table]) or '(none)'}: give a dataset of (image, "
            "label), or a dict of columns of one length, as in {'image': images, 'label': labels}"
        )
    image, label = find_columns({key: col[0] for key, col in table.items()}, cfg, split)
    return table[image], table[label]


def is_picture(value: Any) -> bool:
    """Whether a value may be an image, by its type and rank."""
    array = isinstance(value, (Tensor, np.ndarray)) and value.ndim in (2, 3)
    return array or isinstance(value, Image.Image)


def _is_column(column: Any) -> bool:
    array = isinstance(column, (Tensor, np.ndarray)) and column.ndim > 0
    return array or type(column) in (list, tuple)


def _column(
    what: str,
    named: str | None,
    columns: list[str],
    known: tuple[str, ...],
    fitting: list[str],
    split: str,
) -> str:
    """The column that is named; else the only one of a known name; else the only one that fits."""
    key = f"data.{what}_column"
    if named is not None:
        if named not in columns:
            raise DataError(
                f"{key}={named}: the rows of the {split} split have the columns "
                f"{join_names(columns)}{nearest(named, columns)}"
            )
        return named
    for found in ([name for name in columns if name.lower() in known], fitting):
        if len(found) == 1:
            return found[0]
    raise DataError(
        f"the rows of the {split} split have the columns {join_names(columns) or 'image alone'}: "
        f"which of them is the {what} cannot be told; type {key}=NAME"
    )


def _names(base: Any, label: str) -> list[str]:
    """The classes of a column of Hugging Face: of a label, or of a list of labels."""
    feature = (getattr(base, "features", None) or {}).get(label)
    names = getattr(feature, "names", None) or getattr(
        getattr(feature, "feature", None), "names", None
    )
    return [str(name) for name in names or ()]


def _whole_column(base: Any, label: str) -> Any:
    """All targets where they cost no decoding; None elsewhere."""
    if type(base) in (list, tuple):
        return [row.get(label) for row in base if isinstance(row, Mapping)]
    features = getattr(base, "features", None)
    changed = (getattr(base, "format", None) or {}).get("type") == "custom"
    if not features or changed or type(features.get(label)).__name__ == "Image":
        return None
    return list(base[label])
