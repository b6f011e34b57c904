"""What every layer asks of its input."""

from __future__ import annotations

from torch import Tensor

_AXES = (
    "..., {}",
    "batch, {}, length",
    "batch, {}, height, width",
    "batch, {}, depth, height, width",
)


def check_input(owner: str, x: Tensor, channels: int, ndim: int) -> None:
    """Raise unless x is (batch, channels, *S) with ndim dimensions S, or (..., channels) without.

    Raises: ValueError for another rank or number of channels, and for images without positions;
    TypeError for integers.
    """
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
