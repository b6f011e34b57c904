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
            "give int(label) if it is one, or choose a task whose targets are numbers"
        )
    if isinstance(target, str):
        raise DataError(
            f"has the label {target!r} (str), and others are no names: give integers from 0 for "
            "all (classes.index(label)), or names for all"
        )
    if isinstance(target, (list, tuple)) and target:
        return _from_array(np.asarray(target))
    raise DataError(f"has the label {target!r}: a class is an integer from 0")


def _from_array(target: Tensor | np.ndarray) -> int:
    kind = f"a {'tensor' if isinstance(target, Tensor) else 'array'} of shape {tuple(target.shape)}"
    if target.ndim:
        entries = int(np.prod(target.shape))
        way = "int(label[0])" if entries == 1 else "label.argmax() if it is one-hot"
        raise DataError(f"has as label {kind}: a class is one integer from 0; give {way}")
    if isinstance(target, Tensor):
        integer = not target.dtype.is_floating_point and not target.dtype.is_complex
        way = "label.long()"
    else:
        integer, way = target.dtype.kind in "bui", "int(label)"
    if not integer:
        raise DataError(
            f"has the label {target.item()!r} ({target.dtype}): a class is an integer from 0; "
            f"give {way}"
        )
    return int(target)
