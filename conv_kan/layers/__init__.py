"""Layers."""

from conv_kan.layers.attention import SelfAttention
from conv_kan.layers.bottleneck import Bottleneck, BottleneckLinear
from conv_kan.layers.conv import KANConv
from conv_kan.layers.efficient import EfficientKAN, EfficientKANLinear
from conv_kan.layers.focal import FocalModulation
from conv_kan.layers.kaconv import KAConv
from conv_kan.layers.linear import KAN, KANLinear
from conv_kan.layers.mixture import MixtureOfExperts
from conv_kan.layers.rational import GroupRational
from conv_kan.layers.wavkan import WavKANConv, WavKANLinear

__all__ = [
    "KAN",
    "Bottleneck",
    "BottleneckLinear",
    "EfficientKAN",
    "EfficientKANLinear",
    "FocalModulation",
    "GroupRational",
    "KAConv",
    "KANConv",
    "KANLinear",
    "MixtureOfExperts",
    "SelfAttention",
    "WavKANConv",
    "WavKANLinear",
]
