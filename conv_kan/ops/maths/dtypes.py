"""The dtype that functions are computed in: at least float32."""

from __future__ import annotations

import torch
from torch import Tensor


def promote(x: Tensor) -> Tensor:
    """x in float32 if it is in half precision: basis arithmetic in bfloat16 loses 1e-2."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def working_dtype(x: Tensor) -> torch.dtype:
    """The dtype in which functions of x are computed: at least float32."""
    return torch.promote_types(x.dtype, torch.float32)
