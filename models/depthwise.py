"""Layers of a kind with a kernel for every channel, and the focal modulation made of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from torch import nn

from conv_kan.bases import create_basis
from conv_kan.layers import FocalModulation
from conv_kan.layers.shuffled import ShuffledKANConv
from models.kinds import BOTTLENECK, EXPERTS, KINDS
from models.kits import KANKit, Kit, create_kit


def depthwise_kit(kind: str | None, options: Mapping[str, Any], legacy: bool) -> Kit:
    """The layers of the kind without bottlenecks and experts, for depthwise convolutions.

    legacy: kernels that read other channels, as those of published weights (Gram alone).
    """
    if kind is None:
        return create_kit(None, options)
    plain = {"form": "plain", **dict.fromkeys((*BOTTLENECK, *EXPERTS))}
    kit = create_kit(kind, {**options, **plain})
    if not legacy:
        return kit
    assert isinstance(kit, KANKit)
    shuffled = partial(_shuffled, tuple(KINDS[kind].basis_defaults))
    return replace(kit, maker=replace(kit.maker, conv=shuffled))


def focal_modulation(
    kit: Kit, depthwise: Kit, channels: int, *, dropout: float, has_norm: bool, **options: Any
) -> FocalModulation:
    """Focal modulation of the layers of a kit; options as FocalModulation's."""

    def layer(c_in: int, c_out: int, kernel_size: int, *, ndim: int, **grouped: Any) -> nn.Module:
        chosen = depthwise if grouped else kit
        return chosen.conv(c_in, c_out, kernel_size, dropout=dropout, **grouped)

    norm = kit.norm if has_norm and kit.norm != "none" else None
    affine = kit.affine  # type: ignore[attr-defined]
    return FocalModulation(
        channels, layer=layer, ndim=kit.ndim, norm=norm, affine=affine, **options
    )


def _shuffled(basis_options: Collection[str], *sizes: int, **options: Any) -> ShuffledKANConv:
    basis = create_basis("gram", **{name: options.pop(name) for name in basis_options})
    return ShuffledKANConv(*sizes, basis=basis, **options)
