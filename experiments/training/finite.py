"""Whether all numbers of a state are finite."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

Named = Iterable[tuple[str, Any]]


def not_finite(named: Named) -> list[str]:
    """Names of the values that hold a NaN or an infinity; nested values are looked through.

    Numerics: the largest absolute value of each tensor, one device read for all of them.
    """
    leaves = list(_leaves(named))
    found = [
        name for name, value in leaves if isinstance(value, float) and not math.isfinite(value)
    ]
    tensors = [(n, v) for n, v in leaves if isinstance(v, Tensor) and _can_overflow(v)]
    by_kind: dict[Any, list[tuple[str, Tensor]]] = {}
    for name, tensor in tensors:
        by_kind.setdefault((tensor.device, tensor.dtype), []).append((name, tensor))
    for group in by_kind.values():
        largest = torch._foreach_norm([tensor.detach() for _, tensor in group], math.inf)
        fine = torch.stack(largest).isfinite().tolist()
        found += [name for (name, _), ok in zip(group, fine, strict=True) if not ok]
    return found


def _can_overflow(tensor: Tensor) -> bool:
    return tensor.numel() > 0 and (tensor.is_floating_point() or tensor.is_complex())


def _leaves(named: Named) -> Iterator[tuple[str, Any]]:
    for name, value in named:
        if isinstance(value, Mapping):
            yield from _leaves((f"{name}.{key}", item) for key, item in value.items())
        elif isinstance(value, (list, tuple)):
            yield from _leaves((f"{name}[{i}]", item) for i, item in enumerate(value))
        else:
            yield name, value
