"""The first convolution of residual and dense networks, and the pool behind it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import nn

from models.kits import ConvKit, KANKit

MAX_POOLS = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)


def build_stem(
    kit: KANKit | ConvKit, input_channels: int, width: int, options: Mapping[str, Any]
) -> nn.Sequential:
    """conv, then a maximum over 3x3 at every other position if `stem_pool`.

    It has one group and no dropout, the norm `stem_norm` if there is one, and where layers are
    bottlenecks the reduction of pointwise layers, whatever its kernel, as published.
    """
    kit = with_pointwise_reduction(replace(kit, norm=options["stem_norm"] or kit.norm))
    kernel, stride = options["stem_kernel"], options["stem_stride"]
    stem = nn.Sequential(kit.conv(input_channels, width, kernel, stride=stride))
    if options["stem_pool"]:
        stem.append(MAX_POOLS[kit.ndim - 1](3, stride=2, padding=1))
    return stem


def with_pointwise_reduction(kit: KANKit | ConvKit) -> KANKit | ConvKit:
    """The kit whose bottlenecks all have the reduction of pointwise layers."""
    if not isinstance(kit, KANKit) or not kit.squeeze:
        return kit
    reduction = kit.squeeze["reduction_pointwise"]
    return replace(kit, squeeze={**kit.squeeze, "reduction": reduction})


def stem_reduction(options: Mapping[str, Any]) -> int:
    """How many pixels of the image one behind the stem stands for along an axis."""
    return int(options["stem_stride"]) * (2 if options["stem_pool"] else 1)
