"""The weight of the one convolution, from the weights of a layer and its gradient back to them."""

from __future__ import annotations

import torch
from torch import Tensor

from conv_kan.ops.maths.dtypes import promote
from conv_kan.ops.maths.modes import needs_composition
from conv_kan.ops.maths.plan import ForwardWeights, Plan, WeightGrads, Weights
from conv_kan.ops.plain.constants import bias_and_borders, taps_grad

_SERIAL = (1 << 15) - 1  # elements above which torch wakes its threads


def forward_weights(weights: Weights, plan: Plan) -> ForwardWeights:
    """The weights of a convolution in this dtype over images of this size."""
    weight, geometry = joint_weight(weights, plan), plan.geometry
    bias, borders = bias_and_borders(weights, plan)
    bias = None if bias is None else bias.to(plan.dtype)
    if not borders:
        return ForwardWeights(weight, bias, None)
    shape = (1, len(weight), *geometry.output_size(plan.size))
    table = promote(weight.new_zeros(shape))
    for box, difference in borders:
        table[box].add_(difference.view(-1, *[1] * geometry.ndim))
    return ForwardWeights(weight, bias, table)


def joint_weight(weights: Weights, plan: Plan) -> Tensor:
    """The weight (O, C/groups * M, *kernel) of the one convolution; the scale is folded in here."""
    expansion, dtype, base_weight = plan.expansion, plan.dtype, weights.base
    basis_weight, edges = weights.basis[:, :, len(expansion.constants) :], weights.edges
    if torch.is_grad_enabled() or needs_composition():  # operations, not writes into a buffer
        weight = basis_weight * expansion.scale
        weight = weight if edges is None else weight * edges
        if base_weight is not None:
            weight = torch.cat([base_weight.unsqueeze(2), weight], dim=2)
        return weight.flatten(1, 2).to(dtype)
    size = (*basis_weight.shape[:2], expansion.num_maps, *basis_weight.shape[3:])
    weight = basis_weight.new_empty(size, dtype=dtype)
    first = 0 if base_weight is None else 1
    for rows in _pieces(weight):
        if base_weight is not None:
            weight[rows, :, 0] = base_weight[rows]
        factor = expansion.scale if edges is None else edges[rows] * expansion.scale
        if dtype == basis_weight.dtype:
            torch.mul(basis_weight[rows], factor, out=weight[rows, :, first:])
        else:
            weight[rows, :, first:] = basis_weight[rows] * factor
    return weight.flatten(1, 2)


def weight_grads(grad_weight: Tensor, grad_y: Tensor, weights: Weights, plan: Plan) -> WeightGrads:
    """The gradients of the weights from that of the joint weight, and of y for constants.

    With G the gradient of s e_oc W_basis[o, c, j]: dW_basis = s e_oc G, de_oc = s sum_j G W_basis.
    Shapes: grad_weight (O, C/groups * M, *kernel).
    """
    expansion, (basis, base, _, edge), edges = plan.expansion, weights, weights.edges
    grad_weight = grad_weight.unflatten(1, (-1, expansion.num_maps))
    num_constants, first = len(expansion.constants), 0 if base is None else 1
    grad = torch.empty_like(basis, memory_format=torch.contiguous_format)
    grad_base = grad_edge = None
    if base is not None:
        grad_base = torch.empty_like(base, memory_format=torch.contiguous_format)
    if edge is not None:
        grad_edge = torch.empty_like(edge, memory_format=torch.contiguous_format)
    taps = taps_grad(grad_y, plan).unsqueeze(1) if num_constants else None
    for rows in _pieces(grad_weight):
        # First the dtype, then the scale, which half precision would round.
        grad[rows, :, num_constants:].copy_(grad_weight[rows, :, first:]).mul_(expansion.scale)
        for j, value in enumerate(expansion.constants):
            assert taps is not None
            grad[rows, :, j] = taps[rows] * (value * expansion.scale)
        if grad_base is not None:
            grad_base[rows] = grad_weight[rows, :, 0]
        if grad_edge is not None and edges is not None:
            products = promote(grad[rows]) * promote(basis[rows])
            grad_edge[rows] = products.flatten(2).sum(2).to(grad_edge.dtype)
            grad[rows].mul_(edges[rows])
    return WeightGrads(grad, grad_base, grad_edge)


def _pieces(weight: Tensor) -> list[slice]:
    """Outputs of a weight, few enough that one thread of torch handles a piece.

    Waking the others costs more than a small weight does, above all where processes share a CPU.
    """
    count = max(_SERIAL // max(weight[:1].numel(), 1), 1)
    if weight.device.type != "cpu" or len(weight) > 16 * count:
        return [slice(None)]
    return [slice(o, o + count) for o in range(0, len(weight), count)]
