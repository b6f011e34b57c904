"""What the constant functions of a basis and a bias add: the same map for every sample."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from conv_kan.ops.expand import Expansion, promote
from conv_kan.ops.geometry import Geometry, convolution_arguments


def constant_offset(
    basis_weight: Tensor,
    bias: Tensor | None,
    expansion: Expansion,
    geometry: Geometry,
    size: Sequence[int],
) -> Tensor | None:
    """What the constant functions and the bias add to every sample: (1, O, *S_out) or (1, O, 1..).

    With v[o] = s sum_{c, j < n} phi_j W_basis[o, c, j], a position receives the taps of v that fall
    inside the image: v convolved with an image of ones.
    """
    offset = None
    if expansion.constants:
        taps = constant_taps(basis_weight, expansion)
        if geometry.is_padded:
            ones = padded_ones(taps, geometry, size)
            offset = torch.convolution(
                ones, taps.unsqueeze(1), None, *convolution_arguments(geometry, 1)
            )
        else:
            offset = taps.flatten(1).sum(1) if geometry.ndim else taps
            offset = offset.view(1, -1, *[1] * geometry.ndim)
    if bias is not None:
        bias = promote(bias).view(1, -1, *[1] * geometry.ndim)
        offset = bias if offset is None else offset + bias
    return offset


def constant_taps(basis_weight: Tensor, expansion: Expansion) -> Tensor:
    """v (O, *kernel), at least in float32."""
    weights = promote(basis_weight[:, :, : len(expansion.constants)]).sum(1)
    parts = [
        weights[:, j] * (value * expansion.scale) for j, value in enumerate(expansion.constants)
    ]
    return torch.stack(parts).sum(0) if len(parts) > 1 else parts[0]


def padded_ones(like: Tensor, geometry: Geometry, size: Sequence[int]) -> Tensor:
    """An image of ones (1, 1, *S + extra) whose extra positions are 0."""
    ones = like.new_ones((1, 1, *size))
    return F.pad(ones, [n for e in reversed(geometry.extra) for n in (0, e)])


def taps_grad(
    grad_y: Tensor, basis_weight: Tensor, geometry: Geometry, size: Sequence[int]
) -> Tensor:
    """The gradient of v (O, *kernel): every sample adds the same map, so sum over them first."""
    kernel = geometry.kernel_size
    if not geometry.is_padded:
        total = sum_per_channel(grad_y)
        return total.view(-1, *[1] * geometry.ndim).expand(-1, *kernel)
    grad_map = promote(grad_y).sum(0, keepdim=True)
    taps = grad_map.new_empty((grad_map.shape[1], 1, *kernel))
    _, grad_taps, _ = torch.ops.aten.convolution_backward(
        grad_map,
        padded_ones(grad_map, geometry, size),
        taps,
        None,
        *convolution_arguments(geometry, 1),
        (False, True, False),
    )
    return grad_taps.squeeze(1)


def sum_per_channel(grad_y: Tensor) -> Tensor:
    """(B, O, *S) -> (O,), at least in float32."""
    return promote(grad_y).sum([d for d in range(grad_y.dim()) if d != 1])
