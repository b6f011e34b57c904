"""Norms by name."""

from __future__ import annotations

import warnings
from collections.abc import Callable

from torch import nn
from torch.nn.modules.instancenorm import _InstanceNorm

from conv_kan.names import NORMS
from conv_kan.ops.maths.checks import check_choice
from conv_kan.ops.maths.norms import ChannelLayerNorm

NormLike = str | Callable[[int], nn.Module] | None
_BATCH = (nn.BatchNorm1d, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_INSTANCE = (nn.InstanceNorm1d, nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)


def make_norm(norm: NormLike, channels: int, ndim: int, affine: bool) -> nn.Module | None:
    """The norm called `norm` for (B, channels, *S) with ndim spatial dimensions.

    "batch"; "instance"; "group", the most groups of at least 16 channels each; "layer", over the
    channels at each position; None; or a function from the number of channels to a module (`affine`
    is then its own business).
    Raises: ValueError for an unknown name, for "instance" with ndim = 0, and for a function whose
    norm is for another number of channels; TypeError for what is no function, or returns no module.
    """
    if norm is None:
        return None
    if not isinstance(norm, str):
        return _made(norm, channels)
    check_choice("norm", norm, NORMS)
    if norm == "batch":
        return _BATCH[ndim](channels, affine=affine)
    if norm == "group":
        return nn.GroupNorm(_num_groups(channels), channels, affine=affine)
    if norm == "layer":
        layer_norm = ChannelLayerNorm if ndim else nn.LayerNorm
        return layer_norm(channels, elementwise_affine=affine)
    if ndim == 0:
        raise ValueError(
            "norm='instance' has no positions to average over in a linear layer; "
            "pass norm='layer' or norm='batch'."
        )
    return _INSTANCE[ndim](channels, affine=affine)


def _made(norm: Callable[[int], nn.Module], channels: int) -> nn.Module:
    """The module of a function that makes one for a number of channels."""
    way = "a name or a function channels -> torch.nn.Module, for example nn.BatchNorm2d"
    if isinstance(norm, nn.Module) or not callable(norm):
        raise TypeError(f"norm={norm!r} is no function; pass {way}.")
    module = norm(channels)
    if not isinstance(module, nn.Module):
        raise TypeError(
            f"norm={norm!r} returned {type(module).__name__} for {channels} channels; pass {way}."
        )
    own = getattr(module, "num_features", getattr(module, "num_channels", channels))
    if own not in (channels, 0):  # 0: a lazy norm, which learns it from its first input
        raise ValueError(
            f"norm={norm!r} returned {module!r} where it was called with {channels} channels; use "
            "its argument, as in lambda channels: nn.BatchNorm2d(channels)."
        )
    return module


def warn_if_features_vanish(norm: nn.Module | None, stacklevel: int) -> None:
    """Warn of a layer that ends in this norm, without an activation, if no network can learn so."""
    alone = isinstance(norm, nn.GroupNorm) and norm.num_groups == norm.num_channels
    if alone or isinstance(norm, _InstanceNorm):
        warnings.warn(
            "an instance norm at the output without an activation gives every map of every "
            "sample the same mean: global average pooling then returns constants and a "
            "network that ends in it cannot learn. Use norm='batch' or an activation.",
            stacklevel=stacklevel + 1,
        )


def _num_groups(channels: int) -> int:
    sizes = [size for size in range(min(16, channels), channels + 1) if channels % size == 0]
    return channels // sizes[0]
