"""How tensors lie in memory."""

from __future__ import annotations

import torch
from torch import Tensor

# By the number of dimensions of a tensor; the others have only one memory format.
CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


def memory_format(x: Tensor) -> torch.memory_format:
    """channels_last if x is stored so and not contiguous, else contiguous."""
    last = CHANNELS_LAST.get(x.dim())
    if last is not None and not x.is_contiguous() and x.is_contiguous(memory_format=last):
        return last
    return torch.contiguous_format
