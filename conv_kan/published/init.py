"""Published initial weights of the forms around a basis."""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn

from conv_kan.bases import Gram
from conv_kan.layers.bottleneck import Bottleneck, BottleneckLinear
from conv_kan.layers.core import KANLayer
from conv_kan.layers.mixture import MixtureOfExperts
from conv_kan.layers.wavkan import WavKANConv, WavKANLinear
from conv_kan.published.family_init import published_init_


def kaiming_(weight: Tensor) -> None:
    """U(-b, b), b = sqrt(3 / fan_in)."""
    bound = math.sqrt(3.0 / weight[0].numel())
    nn.init.uniform_(weight, -bound, bound)


def init_bottleneck_(layer: Bottleneck, basis: str) -> None:
    """Kaiming for the projections; beta as small as the outer channels make it."""
    layer.reset_parameters()
    for weight in (layer.squeeze.weight, layer.expand.weight, layer.base_weight):
        if weight is not None:
            kaiming_(weight)
    if isinstance(layer.inner, KANLayer):
        published_init_(layer.inner, basis)
        _small_beta_(layer.inner, layer.c_in)


def init_bottleneck_linear_(layer: BottleneckLinear) -> None:
    """As GRAMLayer, and Xavier for the projections."""
    layer.reset_parameters()
    for projection in (layer.squeeze, layer.expand):
        projection.reset_parameters()
        nn.init.xavier_uniform_(projection.weight)
    if layer.base_weight is not None:
        nn.init.xavier_uniform_(layer.base_weight)
    if isinstance(layer.inner, KANLayer):
        published_init_(layer.inner, "gram")
        _small_beta_(layer.inner, layer.c_in)


def _small_beta_(layer: KANLayer, channels: int) -> None:
    if isinstance(layer.basis, Gram):
        taps = math.prod(layer.geometry.kernel_size)
        nn.init.normal_(layer.basis.beta, std=1.0 / (taps * channels * layer.basis.num_functions))


def init_wavelets_(layer: WavKANConv) -> None:
    """Kaiming, but torch's own for the base branch."""
    layer.reset_parameters()
    kaiming_(layer.wavelet_weight)
    if layer.mix_weight is not None:
        kaiming_(layer.mix_weight)
    if layer.base_weight is not None:
        _torch_default_(layer.base_weight)


def init_wavelets_linear_(layer: WavKANLinear) -> None:
    """torch's own."""
    layer.reset_parameters()
    for weight in (layer.wavelet_weight, layer.base_weight):
        if weight is not None:
            _torch_default_(weight)


def _torch_default_(weight: Tensor) -> None:
    bound = math.sqrt(1.0 / weight[0].numel())
    nn.init.uniform_(weight, -bound, bound)


def init_mixture_(mixture: MixtureOfExperts, copies: bool) -> None:
    """Gates of 0, and with `copies` all experts as the first one.

    Without noise, gates of 0 would choose the same experts for every sample for ever: then ours
    stay.
    """
    with torch.no_grad():
        if mixture.noisy:
            nn.init.zeros_(mixture.gate_weight)
        if copies:
            state = copy.deepcopy(mixture.experts[0].state_dict())
            for expert in mixture.experts:
                expert.load_state_dict(state)


def init_mixture_in_bottleneck_(layer: Bottleneck) -> None:
    """Initial weights of the bottleneck, its gates and its experts, which differ."""
    init_bottleneck_(layer, "gram")
    mixture = layer.inner
    assert isinstance(mixture, MixtureOfExperts)
    init_mixture_(mixture, copies=False)
    for expert in mixture.experts:
        published_init_(expert, "gram")  # type: ignore[arg-type]
    if not isinstance(mixture.pre_gate, nn.Identity):
        published_init_(mixture.pre_gate, "gram")  # type: ignore[arg-type]
