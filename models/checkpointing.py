"""Computing again in backward what forward does not keep."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from conv_kan.ops.maths.modes import needs_composition


def recompute_in_backward(
    layer: nn.Module, function: Callable[..., Tensor], *inputs: Tensor
) -> Tensor:
    """function(*inputs), of which nothing but the inputs is kept; `layer` is what it calls.

    Gradients, random numbers and running statistics are those of function(*inputs), bit for bit:
    the second pass changes copies of the buffers. Compilers decide for themselves what to keep.
    """
    if not torch.is_grad_enabled() or needs_composition():
        return function(*inputs)

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _copied_buffers(layer)

    y: Tensor = checkpoint(function, *inputs, use_reentrant=False, context_fn=contexts)
    return y


@contextmanager
def _copied_buffers(layer: nn.Module) -> Iterator[None]:
    """Copies stand in the place of buffers, the running statistics of norms among them."""
    originals = [(module, dict(module._buffers)) for module in layer.modules()]
    for module, buffers in originals:
        copies = {name: None if t is None else t.clone() for name, t in buffers.items()}
        module._buffers.update(copies)
    try:
        yield
    finally:
        for module, buffers in originals:
            module._buffers.update(buffers)
