"""The published spellings of every layer: which tensors, under which names, in which order.

Those of networks stand in networks.py.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import singledispatch
from typing import Any

import torch
from torch import nn

from conv_kan.bases import Basis, Bernstein, Gram, Legendre
from conv_kan.interop.constants import (
    dead_gates,
    gate_constants,
    layer_constants,
    rope_constants,
)
from conv_kan.interop.rules import (
    Constant,
    Layout,
    Rule,
    basis_major,
    channel_major,
)
from conv_kan.interop.weights import LINEAR_RULES, conv_rules, with_ones
from conv_kan.layers.attention import SelfAttention
from conv_kan.layers.bottleneck import Bottleneck, BottleneckLinear
from conv_kan.layers.conv import KANConv
from conv_kan.layers.focal import FocalModulation
from conv_kan.layers.kaconv import KAConv
from conv_kan.layers.linear import KANLinear
from conv_kan.layers.mixture import MixtureOfExperts, WithPenalty
from conv_kan.layers.radial import RadialFunctions
from conv_kan.layers.rational import GroupRational
from conv_kan.layers.shuffled import ShuffledKANConv
from conv_kan.layers.wavkan import WavKANConv, WavKANLayer

VERSION_2 = "KAGN version 2"
TORCH_RATIONAL = "KAT_Group_Torch"
RANGE_WARNING = (
    "the published weights were trained on x scaled by the minimum and maximum of the batch; "
    "this layer takes tanh(x) and is another function: make it with legacy=True for the same."
)
_BERNSTEIN_WARNING = (
    "published Bernstein weights were trained on functions that all equal 1; these layers use the "
    "Bernstein polynomials and are other functions."
)
_ROPE_WARNING = (
    "published rotary embeddings take the first token for a class token; this attention places "
    "tokens where they are and is another function: make it with legacy=True for the same."
)
_SIGN_WARNING = (
    "the published KAT_Group_Torch takes x for |x| in its denominator; this layer takes |x|, as "
    "published kernels do, and is another function for x < 0."
)


@singledispatch
def layouts_of(module: nn.Module, keys: Collection[str]) -> list[Layout]:
    """The published spellings of a module, the usual one first; none: as its submodules have it.

    `keys` are the published keys of the module that are to be loaded, if any.
    """
    return []


def _note(basis: Basis) -> str:
    if isinstance(basis, Legendre) and not basis.over_batch:
        return RANGE_WARNING
    return _BERNSTEIN_WARNING if isinstance(basis, Bernstein) else ""


@layouts_of.register
def _conv(layer: KANConv, keys: Collection[str]) -> list[Layout]:
    basis = conv_rules(layer)
    groups = layer.geometry.groups
    common: dict[str, Any] = {"constants": layer_constants(layer), "scale": layer.basis.scale}
    usual = [
        Rule("base_weight", "base_conv.{g}.weight"),
        Rule("norm.", "layer_norm.{g}."),
        Rule("activation.weight", "prelus.{g}.weight"),
    ]
    first = Layout("groups", [*basis, *usual], groups=groups, warning=_note(layer.basis), **common)
    is_shuffled = isinstance(layer, ShuffledKANConv)
    second = _version_2(is_shuffled, common) if isinstance(layer.basis, Gram) else []
    if not basis:
        return []
    if is_shuffled:
        return second
    if groups == 1:
        return [first, *second]
    if second and "poly_conv.weight" in keys:
        raise ValueError(
            f"these weights are of KAGNConv{layer.geometry.ndim}DLayerV2, whose groups read the "
            "channels in another order; make the layer with legacy=True to load them."
        )
    return [first]


def _version_2(is_shuffled: bool, common: dict[str, Any]) -> list[Layout]:
    """One convolution for all groups; for one group, the first version in other words."""
    rules = [
        Rule("basis_weight", "poly_conv.weight", channel_major if is_shuffled else basis_major),
        Rule("basis.beta", "beta_weights"),
        Rule("base_weight", "base_conv.weight"),
        Rule("norm.", "layer_norm."),
    ]
    return [Layout(VERSION_2, rules, **common)]


@layouts_of.register
def _linear(layer: KANLinear, keys: Collection[str]) -> list[Layout]:
    rules = LINEAR_RULES.get(type(layer.basis))
    if rules is None:
        return []
    constants, scale = layer_constants(layer), layer.basis.scale
    return [Layout("linear", rules, constants=constants, scale=scale, warning=_note(layer.basis))]


def _moved_in(rules: Sequence[Rule]) -> list[Rule]:
    """Rules of the layer inside a bottleneck, which publishes its tensors as its own."""
    return [Rule("inner." + rule.own, rule.published, rule.order) for rule in rules]


@layouts_of.register
def _bottleneck(layer: Bottleneck, keys: Collection[str]) -> list[Layout]:
    inner, is_flat = layer.inner, isinstance(layer.inner, KANConv)
    rules = [
        *(_moved_in(conv_rules(inner)) if isinstance(inner, KANConv) else []),
        Rule("squeeze.weight", "inner_proj.{g}.weight"),
        Rule("expand.weight", "out_proj.{g}.weight"),
        Rule("base_weight", "base_conv.{g}.weight"),
        Rule("norm.", "layer_norm.{g}."),
    ]
    return [
        Layout(
            "bottleneck",
            rules,
            children={} if is_flat else {"inner": "experts"},
            constants=layer_constants(inner) if isinstance(inner, KANConv) else dead_gates(inner),
            groups=layer.geometry.groups,
            scale=inner.basis.scale if isinstance(inner, KANConv) else 1.0,
        )
    ]


@layouts_of.register
def _bottleneck_linear(layer: BottleneckLinear, keys: Collection[str]) -> list[Layout]:
    if not isinstance(layer.inner, KANLinear) or type(layer.inner.basis) not in LINEAR_RULES:
        return []
    basis = layer.inner.basis
    inner = [rule for rule in LINEAR_RULES[type(basis)] if rule.own.startswith("basis")]
    rules = [
        *_moved_in(inner),
        Rule("squeeze.", "inner_proj."),
        Rule("expand.", "outer_proj."),
        Rule("base_weight", "base_weights"),
        Rule("norm.", "norm."),
    ]
    return [Layout("bottleneck", rules, scale=basis.scale)]


@layouts_of.register
def _wavelets(layer: WavKANLayer, keys: Collection[str]) -> list[Layout]:
    groups, ndim = layer.geometry.groups, layer.geometry.ndim
    if not isinstance(layer, WavKANConv):
        names = {"base_weight": "weight1", "wavelet_weight": "wavelet_weights", "norm.": "bn."}
        names |= {"scale": "scale", "translation": "translation"}
        return [Layout("linear", [Rule(own, other) for own, other in names.items()])]
    rules = [
        Rule("base_weight", "base_conv.{g}.weight"),
        Rule("scale", "wavelet_conv.{g}.scale", with_ones(1, ndim)),
        Rule("translation", "wavelet_conv.{g}.translation", with_ones(1, ndim)),
        Rule("mix_weight", "wavelet_conv.{g}.wavelet_out.weight", with_ones(0, ndim)),
        Rule("norm.", "layer_norm.{g}."),
    ]
    weights = "wavelet_conv.{g}.wavelet_weights."
    versions = {
        "fast": Rule("wavelet_weight", weights + "weight"),
        "fast_plus_one": Rule("wavelet_weight", weights + "weight", lambda t: t.unsqueeze(1)),
        "base": Rule("wavelet_weight", weights + "{o}.weight"),
    }
    return [Layout(name, [*rules, rule], groups=groups) for name, rule in versions.items()]


@layouts_of.register
def _mixture(layer: MixtureOfExperts, keys: Collection[str]) -> list[Layout]:
    rules = [Rule("gate_weight", "w_gate"), Rule("noise_weight", "w_noise")]
    children = {name: name for name in ("experts", "pre_gate")}
    return [Layout("mixture", rules, children, gate_constants(layer))]


@layouts_of.register
def _with_penalty(layer: WithPenalty, keys: Collection[str]) -> list[Layout]:
    return [Layout("transparent", children={"layer": ""})]


@layouts_of.register
def _attention(layer: SelfAttention, keys: Collection[str]) -> list[Layout]:
    rules = [
        Rule("gamma", "gamma"),
        Rule("norm.", "norm_layer."),
        Rule("rope.frequencies", "freqs"),
    ]
    names = ("inner_proj", "outer_proj", "proj_q", "proj_k", "proj_v")
    warning = _ROPE_WARNING if layer.rope is not None and not layer.rope.legacy else ""
    children = {name: name for name in names}
    return [Layout("attention", rules, children, rope_constants(layer.rope), warning=warning)]


@layouts_of.register
def _focal(layer: FocalModulation, keys: Collection[str]) -> list[Layout]:
    children = {name: name for name in ("f", "h", "proj", "focal_layers")}
    return [Layout("focal", [Rule("norm.", "norm_layer.")], children)]


@layouts_of.register
def _rational(layer: GroupRational, keys: Collection[str]) -> list[Layout]:
    numerator = Rule("numerator", "weight_numerator", with_ones(1, 0))
    rules = [numerator, Rule("denominator", "weight_denominator")]
    return [Layout("rational", rules), Layout(TORCH_RATIONAL, rules, warning=_SIGN_WARNING)]


@layouts_of.register
def _radial(functions: RadialFunctions, keys: Collection[str]) -> list[Layout]:
    basis = functions.basis
    grid = Constant("grid", lambda: torch.tensor(basis.centres), basis.set_centres)
    return [Layout("radial", constants=[grid])]


@layouts_of.register
def _mixed_maps(layer: KAConv, keys: Collection[str]) -> list[Layout]:
    ndim = layer.geometry.ndim
    rules = [
        Rule("silu_weight", "convkan.conv1.weight"),
        Rule("silu_bias", "convkan.conv1.bias"),
        Rule("line_weight", "convkan.conv2.weight", lambda t: t.reshape(len(t), 1, 1, -1)),
        Rule("line_bias", "convkan.conv2.bias"),
        Rule("norm.", "norm."),
        Rule("slope", "act_mlp1.weight"),
        Rule("mix_weight", "mlp1.weight", with_ones(0, ndim)),
        Rule("mix_bias", "mlp1.bias"),
    ]
    for name, own in enumerate(("negative_slope", "positive_slope", "offset"), start=1):
        rules.append(Rule(own, f"convkan.act2.alpha{name}", lambda t: t.reshape(1, len(t), 1, -1)))
    return [Layout("KAConvNet", rules)]
