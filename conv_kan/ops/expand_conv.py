"""Convolution over an expansion that is never kept: y = W * e(x) + constants.

    y[o] = sum_c  W_base[o, c] * base(x_c) + sum_{c, j}  s e_oc W_basis[o, c, j] * phi_j(u_c)

`*` is a convolution whose zero padding acts on the maps base(x_c) and phi_j(u_c), not on x: a
padded position contributes 0, also for a constant function. The training step keeps x (and u, the
input of the basis branch, if it is another tensor) and the parameters; the backward pass expands
again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from conv_kan.ops.backend import Backend, choose_backend
from conv_kan.ops.maths.buffers import buffer_size
from conv_kan.ops.maths.expansion import Expansion
from conv_kan.ops.maths.geometry import Geometry, convolution_arguments
from conv_kan.ops.maths.kept import KeptWeights
from conv_kan.ops.maths.memory import memory_format
from conv_kan.ops.maths.modes import autocast_device, needs_composition
from conv_kan.ops.maths.plan import Inputs, Plan, Wanted, Weights
from conv_kan.ops.maths.scratch import lend_scratch
from conv_kan.ops.maths.tiling import add_tiles, join_inputs, sample_tiles
from conv_kan.ops.maths.twice import differentiable_grads, graph_is_wanted
from conv_kan.ops.plain.constants import bias_grad, constant_offset
from conv_kan.ops.plain.weights import joint_weight


def expand_conv(
    x: Tensor,
    weights: Weights,
    *,
    expansion: Expansion,
    geometry: Geometry,
    shape: Sequence[Tensor] = (),
    u: Tensor | None = None,
    mask: Tensor | None = None,
    kept: KeptWeights | None = None,
    centered: bool = False,
) -> Tensor:
    """y = W_base * base(x) + s e W_basis * phi(u) + bias, e_oc a factor for every edge, 1 without.

    `mask` multiplies the maps of every sample and channel (dropout); not the constant functions.
    With `kept`, what the weights alone determine is not computed again by the next call. With
    `centered`, the caller subtracts the mean of every output (see Plan): the bias, and a constant
    function at a tap that never meets padding, then have the gradient 0 exactly.
    Shapes: x, u (B, C, *S); weights as Weights says; mask (B, C * M); y (B, O, *S_out). With
    ndim = 0 there is no S and no kernel.
    Numerics: the functions are computed in float32 for inputs in half precision; the convolution
    runs in the dtype of x, or in autocast's inside an autocast region.
    Raises: TypeError if x and the weights differ in dtype outside autocast.
    """
    dtype = convolution_dtype(x, weights.basis)
    if expansion.base is None and u is not None:
        x, u = u, None
    if geometry.passes_over:
        x, u = _at_windows(x, geometry), None if u is None else _at_windows(u, geometry)
        geometry = replace(geometry, stride=(1,) * geometry.ndim)
    plan = Plan(expansion, geometry, dtype, x.shape[2:], centered)
    with torch.autocast(device_type=autocast_device(x), enabled=False):
        if needs_composition():
            return compose(Inputs(x, u, shape), weights, mask, plan)
        return _ExpandConv.apply(plan, kept, mask, x, u, *weights, *shape)


def _at_windows(x: Tensor, geometry: Geometry) -> Tensor:
    """The positions that strided windows of one tap read, in the memory format of x.

    No other is expanded. And oneDNN computes no gradient of a strided weight of one tap: it writes
    outside of its memory where less than 16 channels are last (oneDNN's issue 6035).
    """
    layout = memory_format(x)
    for dim, step in enumerate(geometry.stride, start=2):
        x = x[(slice(None),) * dim + (slice(None, None, step),)]
    return x.contiguous(memory_format=layout)


def convolution_dtype(x: Tensor, weight: Tensor) -> torch.dtype:
    """The dtype the convolution runs in."""
    device = autocast_device(x)
    if torch.is_autocast_enabled(device) and x.dtype != torch.float64:
        return torch.get_autocast_dtype(device)
    if x.dtype != weight.dtype:
        raise TypeError(
            f"the input is {x.dtype} but the weights are {weight.dtype}; they must agree outside "
            f"torch.autocast. Type x.to({weight.dtype}), layer.to({x.dtype}) or use torch.autocast."
        )
    return x.dtype


def compose(inputs: Inputs, weights: Weights, mask: Tensor | None, plan: Plan) -> Tensor:
    """The same function as a composition of differentiable operations."""
    geometry, dtype = plan.geometry, plan.dtype
    buffer = torch.stack(plan.expansion.maps(*inputs), dim=2).flatten(1, 2).to(dtype)
    if mask is not None:
        buffer = buffer * _over_positions(mask, buffer)
    if any(geometry.extra):
        buffer = F.pad(buffer, [n for e in reversed(geometry.extra) for n in (0, e)])
    y = convolve(buffer, joint_weight(weights, plan), None, geometry)
    offset = constant_offset(weights, plan, y.shape[2:])
    return y if offset is None else (y + offset).to(dtype)


def convolve(buffer: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry) -> Tensor:
    """The convolution of a buffer, or its matrix product if ndim = 0."""
    if geometry.ndim == 0:
        return F.linear(buffer, weight, bias)
    return torch.convolution(
        buffer, weight, bias, *convolution_arguments(geometry, geometry.groups)
    )


class _ExpandConv(torch.autograd.Function):
    """expand_conv with a backward pass that expands again instead of keeping the expansion.

    Without setup_context, for which torch looks at the signature of forward at every call, as long
    as a small layer takes; torch.func, which needs it, gets the composition.
    """

    @staticmethod
    def forward(
        ctx: Any,
        plan: Plan,
        kept: KeptWeights | None,
        mask: Tensor | None,
        x: Tensor,
        u: Tensor | None,
        *tensors: Any,
    ) -> Tensor:
        ctx.plan, ctx.tiles = plan, sample_tiles(x, plan)
        ctx.save_for_backward(mask, x, u, *tensors)
        weights, shape = _split(tensors)
        backend = choose_backend(x, u, plan.expansion, plan.dtype)
        make, kind = partial(backend.forward_weights, weights, plan), (plan.dtype, plan.size)
        weight, bias, table = make() if kept is None else kept.get(weights, kind, make)
        layout, parts = _fastest_format(backend, x, weight, plan), []
        for tile in ctx.tiles:
            local_mask, *local = _samples([mask, x, u], tile)
            with lend_scratch():
                local_x, local_u = _in_format(backend, local, layout)
                buffer = backend.expand_inputs(Inputs(local_x, local_u, shape), plan)
                y = convolve(_masked_(buffer, local_mask), weight, bias, plan.geometry)
            parts.append(backend.in_format(y, memory_format(x)))
        y = parts[0] if len(parts) == 1 else torch.cat(parts)
        return y if table is None else y.add_(table)

    @staticmethod
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors  # once: activation checkpointing unpacks only once
        if graph_is_wanted():
            return (None, None, *_differentiable_grads(ctx, saved, grad_y))
        _, x, u, *tensors = saved
        weights, _ = _split(tensors)
        backend = choose_backend(x, u, ctx.plan.expansion, ctx.plan.dtype)
        with torch.autocast(device_type=autocast_device(x), enabled=False):
            grads, grad_weight = _convolution_grads(ctx, backend, saved, grad_y)
            basis = base = bias = edge = None
            if grad_weight is not None:
                basis, base, edge = backend.weight_grads(grad_weight, grad_y, weights, ctx.plan)
            if weights.bias is not None and ctx.needs_input_grad[7]:
                bias = bias_grad(grad_y, ctx.plan).to(weights.bias.dtype)
        grad_x, grad_u, *grad_shape = grads
        return (None, None, None, grad_x, grad_u, basis, base, bias, edge, *grad_shape)


def _split(tensors: Sequence[Any]) -> tuple[Weights, Sequence[Any]]:
    """The weights, and the learned shape after them."""
    count = len(Weights._fields)
    return Weights(*tensors[:count]), tensors[count:]


def _differentiable_grads(
    ctx: Any, saved: Sequence[Tensor | None], grad_y: Tensor
) -> list[Tensor | None]:
    """Gradients of (mask, x, u, *weights, *shape) that can be differentiated again."""

    def composition(mask: Tensor | None, x: Tensor, u: Tensor | None, *rest: Any) -> Tensor:
        weights, shape = _split(rest)
        return compose(Inputs(x, u, shape), weights, mask, ctx.plan)

    with torch.autocast(device_type=autocast_device(grad_y), enabled=False):
        return differentiable_grads(composition, saved, ctx.needs_input_grad[2:], grad_y)


def _fastest_format(backend: Backend, x: Tensor, weight: Tensor, plan: Plan) -> torch.memory_format:
    """The memory format that the buffer is best in; y and the gradients return to that of x."""
    buffer = math.prod(buffer_size(x, plan))
    return backend.fastest_format(x, buffer, weight.numel(), plan.dtype)


def _in_format(
    backend: Backend, tensors: Sequence[Tensor | None], layout: torch.memory_format
) -> list[Any]:
    return [None if t is None else backend.in_format(t, layout) for t in tensors]


def _samples(tensors: Sequence[Any], tile: slice) -> list[Any]:
    """Tensors (B, ...) cut to the samples of a tile."""
    return [t if t is None or tile == slice(0, len(t)) else t[tile] for t in tensors]


def _convolution_grads(
    ctx: Any, backend: Backend, saved: Sequence[Any], grad_y: Tensor
) -> tuple[Sequence[Tensor | None], Tensor | None]:
    """Gradients of (x, u, *shape) and of the joint weight (O, C/groups * M, *kernel)."""
    mask, x, u, *tensors = saved
    weights, shape = _split(tensors)
    weight = backend.joint_weight(weights, ctx.plan)
    parts = []
    for tile in ctx.tiles:
        local_grad, local_mask, local_x, local_u = _samples([grad_y, mask, x, u], tile)
        inputs = Inputs(local_x, local_u, shape)
        parts.append(_tile_grads(ctx, backend, weight, inputs, local_mask, local_grad))
    if len(parts) == 1:
        return parts[0]
    found = [grad for _, grad in parts if grad is not None]
    return join_inputs([grads for grads, _ in parts]), add_tiles(found) if found else None


def _tile_grads(
    ctx: Any,
    backend: Backend,
    weight: Tensor,
    inputs: Inputs,
    mask: Tensor | None,
    grad_y: Tensor,
) -> tuple[Sequence[Tensor | None], Tensor | None]:
    """The gradients that the samples of one tile give.

    One buffer serves twice: it receives the gradient of the expansion, which is pulled back to the
    inputs, and is then filled with the expansion, which the gradient of the weight needs.
    """
    needs_x, needs_u, basis, base, _, edge, *needs_shape = ctx.needs_input_grad[3:]
    plan, given = ctx.plan, memory_format(inputs.x)
    layout = _fastest_format(backend, inputs.x, weight, plan)
    wanted = Wanted([needs_x, needs_u, *needs_shape], basis or base or edge)
    grads: list[Tensor | None] = [None] * len(wanted.grads)
    grad_weight = None
    with lend_scratch():
        grad_y, x, u = _in_format(backend, [grad_y, inputs.x, inputs.u], layout)
        inputs = Inputs(x, u, inputs.shape)
        if any(wanted.grads):
            buffer = _masked_(_buffer_grad(grad_y, weight, x, plan), mask)
            grads = backend.pull_back(buffer, inputs, plan, wanted)
        elif wanted.refill:
            buffer = backend.expand_inputs(inputs, plan)
        if wanted.refill:
            grad_weight = _weight_grad(grad_y, weight, _masked_(buffer, mask), plan.geometry)
    grads[:2] = _in_format(backend, grads[:2], given)
    return grads, grad_weight


def _masked_(buffer: Tensor, mask: Tensor | None) -> Tensor:
    """The buffer, or its gradient, times the mask, in place."""
    return buffer if mask is None else buffer.mul_(_over_positions(mask, buffer))


def _over_positions(mask: Tensor, buffer: Tensor) -> Tensor:
    """(B, C * M) -> (B, C * M, 1, ...)."""
    return mask.to(buffer.dtype).view(*mask.shape, *[1] * (buffer.dim() - 2))


def _buffer_grad(grad_y: Tensor, weight: Tensor, x: Tensor, plan: Plan) -> Tensor:
    """The gradient of the buffer, in the memory format of x."""
    geometry = plan.geometry
    if geometry.ndim == 0:
        return grad_y @ weight
    size, layout = buffer_size(x, plan), memory_format(x)
    # Only its size and layout are read.
    like = torch.empty(size, dtype=weight.dtype, device=x.device, memory_format=layout)
    arguments = convolution_arguments(geometry, geometry.groups)
    return torch.ops.aten.convolution_backward(
        grad_y, like, weight, None, *arguments, (True, False, False)
    )[0]


def _weight_grad(grad_y: Tensor, weight: Tensor, buffer: Tensor, geometry: Geometry) -> Tensor:
    """The gradient of the joint weight; only the size and layout of `weight` are read."""
    if geometry.ndim == 0:
        return grad_y.t() @ buffer
    arguments = convolution_arguments(geometry, geometry.groups)
    return torch.ops.aten.convolution_backward(
        grad_y, buffer, weight, None, *arguments, (False, True, False)
    )[1]
