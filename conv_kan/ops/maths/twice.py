"""Gradients that can be differentiated again, for a backward pass of which a graph is asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from conv_kan.ops.maths.modes import needs_composition


def graph_is_wanted() -> bool:
    """Asked in a backward pass: whether it is part of something that is differentiated again.

    Then its caller has said create_graph=True, which turns grad mode on in it.
    """
    return torch.is_grad_enabled()


def differentiable_grads(
    function: Callable[..., Tensor],
    inputs: Sequence[Tensor | None],
    needs: Sequence[bool],
    grad: Tensor,
) -> list[Tensor | None]:
    """Gradients of function(*inputs), where needed, as differentiable functions of inputs and grad.

    function is the composition of what an operator computes at once. It is computed again here, so
    that only this way keeps its intermediate results; the operator's own backward keeps none.
    """
    # Views stand for the inputs: one of them may be computed from another, and a gradient here is
    # that of the function alone.
    local = [
        t.view_as(t) if t is not None and need else t for t, need in zip(inputs, needs, strict=True)
    ]
    wanted = [t for t, need in zip(local, needs, strict=True) if t is not None and need]
    if not wanted:
        return [None] * len(local)
    y = function(*local)
    grads = torch.autograd.grad(y, wanted, grad.to(y.dtype), create_graph=True, allow_unused=True)
    found = iter(grads)
    return [
        next(found) if t is not None and need else None
        for t, need in zip(local, needs, strict=True)
    ]


def differentiable_twice(
    fast: Callable[..., Tensor], composition: Callable[..., Tensor], *inputs: Tensor
) -> Tensor:
    """fast(*inputs), an operation of torch whose gradient cannot be differentiated again.

    composition computes the same; it serves where a graph of the backward pass is asked for.
    """
    if needs_composition() or not torch.is_grad_enabled():
        return fast(*inputs)
    y: Tensor = _Twice.apply(fast, composition, *inputs)
    return y


class _Twice(torch.autograd.Function):
    """Keeps the graph of `fast`, and its inputs, which that keeps anyway."""

    @staticmethod
    def forward(
        ctx: Any,
        fast: Callable[..., Tensor],
        composition: Callable[..., Tensor],
        *inputs: Tensor,
    ) -> Tensor:
        with torch.enable_grad():
            local = [t.detach().requires_grad_(t.requires_grad) for t in inputs]
            y = fast(*local)
        ctx.composition, ctx.local, ctx.y = composition, local, y
        ctx.save_for_backward(*inputs)
        return y.detach()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        needs = ctx.needs_input_grad[2:]
        if graph_is_wanted():
            inputs = ctx.saved_tensors
            return (None, None, *differentiable_grads(ctx.composition, inputs, needs, grad))
        wanted = [t for t, need in zip(ctx.local, needs, strict=True) if need]
        found = iter(torch.autograd.grad(ctx.y, wanted, grad, retain_graph=True))
        return (None, None, *(next(found) if need else None for need in needs))
