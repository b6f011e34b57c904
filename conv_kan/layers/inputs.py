"""What every layer asks of its input."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from conv_kan.ops.maths.geometry import Geometry

_AXES = (
    "..., {}",
    "batch, {}, length",
    "batch, {}, height, width",
    "batch, {}, depth, height, width",
)


def check_input(owner: str, x: Tensor, channels: int, ndim: int) -> None:
    """Raise unless x is (batch, channels, *S) with ndim dimensions S, or (..., channels) without.

    Raises: ValueError for another rank or number of channels, and for images without positions;
    TypeError for what is no dense tensor, and for integers.
    """
    check_tensor(owner, x)
    wrong_rank = x.dim() != ndim + 2 if ndim else x.dim() == 0
    if wrong_rank or x.shape[1 if ndim else -1] != channels:
        raise ValueError(
            f"{owner} got an input of shape {tuple(x.shape)} but takes "
            f"({_AXES[ndim].format(channels)}); check {channels} against the channels of the "
            "data, and use x.unsqueeze(0) for a single sample."
        )
    if ndim and 0 in x.shape[2:]:
        raise ValueError(
            f"{owner} got images of size {tuple(x.shape[2:])}, too small; pass larger images."
        )
    if not x.is_floating_point():
        what, remedy = ("images", "x.float() / 255") if ndim else ("numbers", "x.float()")
        raise TypeError(f"{owner} got {x.dtype} but takes floating-point {what}; type {remedy}.")


def check_images(
    owner: str, x: Tensor, channels: int, geometry: Geometry, weight: Tensor | None
) -> None:
    """Raise unless a layer of this geometry and with this weight can convolve x.

    Raises: as check_input; RuntimeError for another device, ValueError for images too small.
    """
    check_input(owner, x, channels, geometry.ndim)
    if weight is not None and weight.device != x.device:  # kernels take addresses
        raise RuntimeError(
            f"{owner} is on {weight.device} but got an input on {x.device}; type "
            f"x.to({str(weight.device)!r}) or layer.to({str(x.device)!r})."
        )
    size = x.shape[2:] if geometry.ndim else ()
    if any(s < 1 for s in geometry.output_size(size)):
        raise ValueError(
            f"{owner} got images of size {tuple(size)}, too small for kernel_size="
            f"{geometry.kernel_size}, dilation={geometry.dilation} and padding="
            f"{geometry.padding}; pass larger images or more padding."
        )


def check_tensor(owner: str, x: Any) -> None:
    """Raise TypeError unless x is a dense tensor."""
    if not isinstance(x, Tensor):
        raise TypeError(
            f"{owner} got {_kind(x)} but takes a tensor; type torch.as_tensor(x) if it holds "
            "numbers."
        )
    if x.layout is not torch.strided:
        raise TypeError(f"{owner} got a {x.layout} tensor but takes dense ones; type x.to_dense().")


def check_grid(owner: str, grid: Any, weight: Tensor) -> None:
    """Raise unless grid is a tensor (N,) like weight, at whose points functions are asked for.

    Raises: TypeError for what is no tensor or has another dtype, ValueError for another rank,
    RuntimeError for another device -> what to type.
    """
    name = f"{owner}.edge_functions"
    example = "torch.linspace(-2, 2, 100)"
    if not isinstance(grid, Tensor):
        way = f"torch.tensor({grid!r})" if isinstance(grid, list) else example
        raise TypeError(f"{name} got {_kind(grid)} but takes a tensor (N,) of points; pass {way}.")
    if grid.dim() != 1:
        raise ValueError(
            f"{name} got a tensor of shape {tuple(grid.shape)} but takes points (N,); pass "
            f"grid.flatten(), or for example {example}."
        )
    if grid.dtype != weight.dtype:
        raise TypeError(
            f"{name} got {grid.dtype} but the weights are {weight.dtype}; pass "
            f"grid.to({weight.dtype})."
        )
    if grid.device != weight.device:
        raise RuntimeError(
            f"{name} got points on {grid.device} but the weights are on {weight.device}; pass "
            f"grid.to({str(weight.device)!r})."
        )


def _kind(value: Any) -> str:
    kind = type(value)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"
