"""What happens to samples between a dataset and a model; the loaders know no more of a task."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.utils.data import default_collate

Batch = tuple[Tensor, Any]  # inputs (B, C, *S), and targets of any nesting


def nothing_wrong(targets: Any) -> None:
    """For targets that need no check."""


def as_they_are(inputs: Tensor, targets: Any) -> Batch:
    """For batches that need nothing more."""
    return inputs, targets


@dataclass(frozen=True)
class Recipe:
    """From samples (input, target) to batches. All parts must be picklable, for loader workers.

    prepare(input, target) brings one sample to tensors of one shape and changes both together,
    perhaps at random. whole_batches: it also takes the stacked inputs and targets of a batch, and
    nothing about it is random; data in memory are then prepared in a few operations. collate joins
    prepared samples. check(targets) says what is wrong with those of a batch (which sample, and the
    rule that it breaks), or None. finish acts on a batch, for what costs little there; then mix, if
    there is one, mixes its samples.
    """

    prepare: Callable[[Any, Any], tuple[Any, Any]]
    whole_batches: bool = False
    collate: Callable[[list[tuple[Any, Any]]], Batch] = default_collate
    check: Callable[[Any], tuple[int, str] | None] = nothing_wrong
    finish: Callable[[Tensor, Any], Batch] = as_they_are
    mix: Callable[[Tensor, Any], Batch] | None = None
