"""What maps of logits say: one for each class, or one alone for two classes."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def num_maps(num_classes: int) -> int:
    """The maps that a network gives: of two classes one, whose sigmoid is that of class 1."""
    return 1 if num_classes == 2 else num_classes


def logits_of(maps: Tensor) -> Tensor:
    """Logits of every class: the maps; of one map z they are (0, z), since softmax_1 = sigmoid(z).

    Shapes: (B, K, *S) -> (B, C, *S), C = max(K, 2).
    """
    return torch.cat((torch.zeros_like(maps), maps), dim=1) if maps.shape[1] == 1 else maps


def classes_of(maps: Tensor) -> Tensor:
    """The likeliest class of every position. Shapes: (B, K, *S) -> (B, *S) int64."""
    return (maps[:, 0] > 0).long() if maps.shape[1] == 1 else maps.argmax(dim=1)


def valid_of(masks: Tensor, ignore_index: int | None) -> Tensor:
    """Where a mask says anything. Shapes: (B, *S) -> (B, *S) bool."""
    if ignore_index is None:
        return torch.ones_like(masks, dtype=torch.bool)
    return masks != ignore_index


def one_hot(masks: Tensor, valid: Tensor, num_classes: int) -> Tensor:
    """Maps of 0 and 1 for each class, all 0 where nothing is valid.

    Shapes: (B, *S) -> (B, num_classes, *S) int64.
    """
    maps = F.one_hot(masks.where(valid, 0), num_classes).movedim(-1, 1)
    return maps * valid[:, None]
