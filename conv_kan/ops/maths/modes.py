"""Which way of computing fits the surroundings of a call."""

from __future__ import annotations

import torch


def needs_composition() -> bool:
    """Whether plain differentiable torch is asked for: by a compiler, a tracer or torch.func.

    A compiler decides for itself what to keep and what to compute again, and torch.func needs
    every operation to be differentiable in every way.
    """
    return (
        torch.compiler.is_compiling()
        or torch.jit.is_tracing()
        or torch._C._are_functorch_transforms_active()
    )


def only_compiles() -> bool:
    """Whether the surroundings are a compiler, which takes an operator of torch as it is."""
    return (
        torch.compiler.is_compiling()
        and not torch.compiler.is_exporting()
        and not torch._C._are_functorch_transforms_active()
    )
