"""What a class index may be: integers of any kind, and nothing that would have to be rounded."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from experiments.errors import DataError


def class_index(target: Any) -> int:
    """Return a label as an integer: an int, bool, numpy integer or integer tensor ().

    Raises: DataError for anything else -> what was given and what to type. 1.0 is not 1: whoever
    gives floats means a number, a probability, or has lost the type on the way.
    """
    if isinstance(target, (int, np.integer, np.bool_)):
        return int(target)
    if isinstance(target, (Tensor, np.ndarray)):
        return _from_array(target)
    if isinstance(target, (float, np.floating)):
        raise DataError(
            f"has the label {target!r} ({type(target).__name__}): a class is an integer from 0; "
            "give int(label) if it is one, or type task=regression if it is a number to be "
            "predicted"
        )
    if isinstance(target, str):
        raise DataError(
            f"has the label {target!r} (str), and others are no names: give integers from 0 for "
            "all (classes.index(label)), or names for all"
        )
    if isinstance(target, (list, tuple)) and target:
        return _from_array(_as_array(target))
    raise DataError(f"has the label {target!r}: a class is an integer from 0")


def shown(target: Any) -> str:
    """A target in a message, without the type that numpy and torch put around numbers."""
    scalar = isinstance(target, np.generic) or (isinstance(target, Tensor) and not target.ndim)
    return repr(target.item() if scalar else target)[:60]


def _as_array(target: list[Any] | tuple[Any, ...]) -> np.ndarray:
    try:
        return np.asarray(target)
    except ValueError:  # lists of several lengths
        return np.empty(len(target), dtype=object)


def _from_array(target: Tensor | np.ndarray) -> int:
    word = "a tensor" if isinstance(target, Tensor) else "an array"
    kind = f"{word} of shape {tuple(target.shape)}"
    if target.ndim:
        entries = int(np.prod(target.shape))
        way = (
            f"give {'int(label[0])' if entries == 1 else 'label.argmax() if it is one-hot'}, or "
            "type task=multilabel if an image has several labels, task=regression if these are "
            "numbers to be predicted"
        )
        raise DataError(f"has as label {kind}: a class is one integer from 0; {way}")
    if isinstance(target, Tensor):
        integer = not target.dtype.is_floating_point and not target.dtype.is_complex
        way = "label.long()"
    else:
        integer, way = target.dtype.kind in "bui", "int(label)"
    if not integer:
        raise DataError(
            f"has the label {target.item()!r} ({target.dtype}): a class is an integer from 0; "
            f"give {way}, or type task=regression if it is a number to be predicted"
        )
    return int(target)
