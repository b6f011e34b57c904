"""What the constant functions of a basis and a bias add: the same map for every sample."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from conv_kan.ops.maths.dtypes import promote
from conv_kan.ops.maths.expansion import Expansion
from conv_kan.ops.maths.geometry import Geometry
from conv_kan.ops.maths.plan import Plan, Weights
from conv_kan.ops.plain.borders import (
    axis_runs,
    boxes,
    centered_tap_sums,
    run_values,
    tap_sums,
)


def constant_offset(weights: Weights, plan: Plan, size_out: Sequence[int] = ()) -> Tensor | None:
    """What the constant functions and the bias add to every sample: (1, O, *S_out) or (1, O, 1..).

    size_out is S_out, wanted where there is padding: that of the convolution's output itself, for
    an exporter cannot prove that another formula has the same value for every size.

    With v[o] = s sum_{c, j < n} phi_j e_oc W_basis[o, c, j], a position receives the taps of v that
    fall inside the image: sum_k v[o, *k] prod_axis inside_axis[k_axis, p_axis]. Where means are
    subtracted, the gradient is that of sum_k v[o, *k] (prod_axis inside_axis - 1).
    """
    expansion, geometry, bias = plan.expansion, plan.geometry, weights.bias
    per_output = (1, -1, *[1] * geometry.ndim)
    offset = None
    if expansion.constants:
        taps = constant_taps(weights, expansion)
        inside = [
            inside_taps(axis, plan.size[axis], size_out[axis], geometry, taps)
            for axis in range(geometry.ndim if geometry.is_padded else 0)
        ]
        if plan.centered:
            offset = taps.detach().flatten(1).sum(1) if geometry.ndim else taps.detach()
            offset = offset.view(per_output)
            for axis in range(len(inside)):  # the product less 1, telescoped
                less = [
                    *inside[:axis],
                    inside[axis] - 1.0,
                    *map(torch.ones_like, inside[axis + 1 :]),
                ]
                offset = offset + _over_axes(taps, less)
        elif inside:
            offset = _over_axes(taps, inside)
        else:
            offset = (taps.flatten(1).sum(1) if geometry.ndim else taps).view(per_output)
    if bias is not None:
        if plan.centered:  # a gradient of 0, not none, which distributed training would miss
            bias = bias + (bias.detach() - bias)
        bias = promote(bias).view(per_output)
        offset = bias if offset is None else offset + bias
    return offset


def _over_axes(taps: Tensor, factors: Sequence[Tensor]) -> Tensor:
    """sum_k taps[o, *k] prod_axis factor_axis[k, p]: (O, *kernel) -> (1, O, *S_out).

    Written out: a library of matrix products would reshape, by sizes that an exporter must know.
    """
    for factor in factors:  # (O, k, ...) -> (O, ..., p), axis after axis
        parts = [taps[:, k].unsqueeze(-1) * factor[k] for k in range(taps.shape[1])]
        taps = sum(parts[1:], start=parts[0])
    return taps.unsqueeze(0)


def bias_and_borders(
    weights: Weights, plan: Plan
) -> tuple[Tensor | None, Sequence[tuple[tuple[slice, ...], Tensor]]]:
    """`constant_offset` as a bias (O,), and boxes of positions with what differs there (O,).

    A convolution adds the bias for nothing; the boxes are at the border.
    """
    if not (plan.expansion.constants and plan.geometry.is_padded):
        offset = constant_offset(weights, plan)
        return None if offset is None else offset.flatten(), ()
    axes = axis_runs(plan.geometry, plan.size)
    most, borders = boxes(run_values(constant_taps(weights, plan.expansion), axes), axes)
    return most if weights.bias is None else most + promote(weights.bias), borders


def constant_taps(weights: Weights, expansion: Expansion) -> Tensor:
    """v (O, *kernel), at least in float32."""
    constant, edges = promote(weights.basis[:, :, : len(expansion.constants)]), weights.edges
    totals = (constant if edges is None else constant * edges).sum(1)
    parts = [
        totals[:, j] * (value * expansion.scale) for j, value in enumerate(expansion.constants)
    ]
    return torch.stack(parts).sum(0) if len(parts) > 1 else parts[0]


def inside_taps(
    axis: int, length: int, num_outputs: int, geometry: Geometry, like: Tensor
) -> Tensor:
    """1 where tap k of output position p reads inside the image, else 0: (kernel, outputs)."""
    kernel, stride = geometry.kernel_size[axis], geometry.stride[axis]
    padding, dilation = geometry.padding[axis], geometry.dilation[axis]
    first = torch.arange(num_outputs, device=like.device) * stride - padding
    read = first + dilation * torch.arange(kernel, device=like.device).unsqueeze(1)
    return ((read >= 0) & (read < length)).to(like.dtype)


def taps_grad(grad_y: Tensor, plan: Plan) -> Tensor:
    """The gradient of v (O, *kernel): every sample adds the same map, so sum over them first."""
    geometry = plan.geometry
    if not geometry.is_padded:
        total = bias_grad(grad_y, plan)
        return total.view(-1, *[1] * geometry.ndim).expand(-1, *geometry.kernel_size)
    sums = centered_tap_sums if plan.centered else tap_sums
    return sums(promote(grad_y).sum(0), axis_runs(geometry, plan.size))


def bias_grad(grad_y: Tensor, plan: Plan) -> Tensor:
    """The gradient of a bias (O,), which nothing depends on where means are subtracted."""
    return promote(grad_y.new_zeros(grad_y.shape[1])) if plan.centered else sum_per_channel(grad_y)


def sum_per_channel(grad_y: Tensor) -> Tensor:
    """(B, O, *S) -> (O,), at least in float32."""
    return promote(grad_y).sum([d for d in range(grad_y.dim()) if d != 1])
