"""Kolmogorov-Arnold layers for images: y = act(norm(W_basis * phi(x) + W_base * base(x)))."""

from conv_kan.bases import Basis, create_basis, list_bases
from conv_kan.families import FAMILIES, Family, get_family
from conv_kan.fold import fold
from conv_kan.layers import (
    KAN,
    Bottleneck,
    BottleneckLinear,
    EfficientKAN,
    EfficientKANLinear,
    FocalModulation,
    GroupRational,
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
]
