"""Kolmogorov-Arnold layers for images: y = act(norm(W_basis * phi(x) + W_base * base(x))).

Names and options of bases and families are known without torch, which comes with the first layer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from conv_kan.bases import create_basis, list_bases
from conv_kan.families import FAMILIES, Family, get_family
from conv_kan.lazy import lazy_names

if TYPE_CHECKING:
    from conv_kan.bases import Basis
    from conv_kan.folding import fold, refresh
    from conv_kan.layers import (
        KAN,
        Bottleneck,
        BottleneckLinear,
        EfficientKAN,
        EfficientKANLinear,
        FocalModulation,
        GroupRational,
        KAConv,
        KANConv,
        KANLinear,
        MixtureOfExperts,
        SelfAttention,
        WavKANConv,
        WavKANLinear,
    )
    from conv_kan.ops.maths.tiling import expansion_limit

__all__ = [
    "FAMILIES",
    "KAN",
    "Basis",
    "Bottleneck",
    "BottleneckLinear",
    "EfficientKAN",
    "EfficientKANLinear",
    "Family",
    "FocalModulation",
    "GroupRational",
    "KAConv",
    "KANConv",
    "KANLinear",
    "MixtureOfExperts",
    "SelfAttention",
    "WavKANConv",
    "WavKANLinear",
    "create_basis",
    "expansion_limit",
    "fold",
    "get_family",
    "list_bases",
    "refresh",
]

if not TYPE_CHECKING:
    _OTHERS = {
        "Basis": "conv_kan.bases",
        "expansion_limit": "conv_kan.ops.maths.tiling",
        "fold": "conv_kan.folding",
        "refresh": "conv_kan.folding",
    }
    _LAYERS = [name for name in __all__ if name not in globals() and name not in _OTHERS]
    __getattr__, __dir__ = lazy_names(
        __name__, {**_OTHERS, **dict.fromkeys(_LAYERS, "conv_kan.layers")}
    )
