"""What happens to samples between a dataset and a model; the loaders know no more of a task."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.utils.data import default_collate

Batch = tuple[Tensor, Any]  # inputs (B, C, *S), and targets of any nesting


@dataclass(frozen=True)
class Recipe:
    """From samples (input, target) to batches. All parts must be picklable, for loader workers.

    prepare(input, target) brings one sample to tensors of one shape and changes both together at
    random; without `random` it takes whole batches, too. collate joins prepared samples. finish
    acts on a batch, for what costs little there, and mix, if there is one, mixes its samples.
    check(targets) says what is wrong with a batch's targets: (which sample, what the rule is), or
    None.
    """

    prepare: Callable[[Any, Any], tuple[Any, Any]]
    check: Callable[[Any], tuple[int, str] | None]
    random: bool
    finish: Callable[[Tensor, Any], Batch]
    collate: Callable[[list[tuple[Any, Any]]], Batch] = default_collate
    mix: Callable[[Tensor, Any], Batch] | None = None
