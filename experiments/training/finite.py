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

    Numerics: a sum of absolute values that is finite has finite terms; all of them are one read
    from the device. Where it is not, it may be the sum that is too large, and the terms are looked
    at.
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
        sums = torch._foreach_norm([tensor.detach() for _, tensor in group], 1)
        fine = torch.stack(sums).isfinite().tolist()
        for (name, tensor), ok in zip(group, fine, strict=True):
            if not ok and not tensor.isfinite().all():
                found.append(name)
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
