"""Published fully connected layers and networks, and the rational activations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn

from conv_kan.bases import create_basis
from conv_kan.families import get_family
from conv_kan.interop.networks import LISTS
from conv_kan.interop.rules import remember_layout
from conv_kan.layers.bottleneck import BottleneckLinear
from conv_kan.layers.efficient import EfficientKAN, EfficientKANLinear
from conv_kan.layers.linear import KAN, KANLinear
from conv_kan.layers.radial import RadialFunctions
from conv_kan.layers.rational import GroupRational
from conv_kan.layers.wavkan import WavKANLinear
from conv_kan.names import ACTIVATIONS
from conv_kan.published.arguments import activation_of, no_decay, say_once
from conv_kan.published.family_init import published_init_
from conv_kan.published.init import init_bottleneck_linear_, init_wavelets_linear_

_FAST_STD = 0.1


def linear_arguments(acronym: str, **options: Any) -> dict[str, Any]:
    """The arguments of KANLinear for a published layer; options are its basis's and below.

    base_activation acts where the published layers of the family apply it: on the base branch, and
    in most on the output and the functions too.
    """
    family = get_family(acronym)
    arguments: dict[str, Any] = {
        "base": family.base,
        "activation": family.activation,
        "norm_position": family.norm_position,
        **family.mlp_layer,
    }
    activation = options.pop("base_activation", None)
    if activation is not None:
        chosen = dict.fromkeys(family.mlp_activations, activation_of(activation))
        options |= {key: chosen.pop(key) for key in family.defaults if key in chosen}
        arguments |= chosen
    if options.pop("legacy", False):
        options["squash"] = "minmax"
    if not options.pop("use_base_update", True):
        arguments |= {"base": None, "base_bias": False}
    return {**arguments, "basis": create_basis(family.basis, scale="none", **options)}


def build_linear(acronym: str, sizes: tuple[str, str], **options: Any) -> nn.Module:
    """A KANLinear of a published family; `sizes` are the names of its numbers of features."""
    features = [options.pop(name) for name in sizes]
    return init_linear_(
        KANLinear(*features, **linear_arguments(acronym, **_renamed(options))), acronym, options
    )


def init_linear_(layer: KANLinear, acronym: str, options: dict[str, Any]) -> KANLinear:
    """Published initial weights."""
    published_init_(layer, get_family(acronym).name)
    if "spline_weight_init_scale" in options:
        with torch.no_grad():
            layer.basis_weight.mul_(options["spline_weight_init_scale"] / _FAST_STD)
    return layer


def _renamed(options: dict[str, Any]) -> dict[str, Any]:
    """Published options of a basis by our names."""
    renamed = dict(options)
    renamed.pop("spline_weight_init_scale", None)
    for theirs, ours in {
        "train_ab": "train_phases",
        "act": "base_activation",
        "num_grids": "grid_size",
        "polynomial_order": "degree",
    }.items():
        if theirs in renamed:
            renamed[ours] = renamed.pop(theirs)
    if "grid_min" in renamed:
        renamed["grid_range"] = (renamed.pop("grid_min"), renamed.pop("grid_max"))
    return renamed


def bottleneck_arguments(
    *, degree: int, act: Any, dim_reduction: float, min_internal: int
) -> dict[str, Any]:
    """The arguments of BottleneckLinear."""
    name = activation_of(act)
    return {
        "basis": create_basis("gram", degree=degree, outer=name, scale="none"),
        "base": name,
        "activation": name,
        "reduction": dim_reduction,
        "min_inner": min_internal,
    }


def build_bottleneck_linear(in_channels: int, out_channels: int, **options: Any) -> nn.Module:
    """BottleNeckGRAMLayer."""
    layer = BottleneckLinear(in_channels, out_channels, **bottleneck_arguments(**options))
    init_bottleneck_linear_(layer)
    return layer


def build_wavelets_linear(in_features: int, out_features: int, wavelet_type: str) -> nn.Module:
    """WavKANLayer."""
    layer = WavKANLinear(in_features, out_features, wavelet=wavelet_type)
    init_wavelets_linear_(layer)
    return layer


def build_network(
    acronym: str,
    *,
    layers_hidden: Sequence[int],
    dropout: float = 0.0,
    l1_decay: float = 0.0,
    first_dropout: bool = True,
    **options: Any,
) -> nn.Module:
    """A KAN network of published layers. l1_decay is accepted, and none of them acts on it."""
    if l1_decay:
        say_once(no_decay("l1_decay", l1_decay))
    first = first_dropout and dropout > 0
    shared = {"dropout": dropout if len(layers_hidden) > 2 or first else 0.0}
    shared["first_dropout"] = first
    build = _NETWORKS.get(acronym, partial(_network_of_linear, acronym))
    return build(list(layers_hidden), shared, options)


def _network_of_linear(
    acronym: str, sizes: list[int], shared: dict[str, Any], options: dict[str, Any]
) -> nn.Module:
    network = KAN(sizes, **shared, **linear_arguments(acronym, **_renamed(options)))
    _init_each(network, lambda layer: init_linear_(layer, acronym, options))
    return network


def _init_each(network: KAN, init: Callable[[Any], object]) -> None:
    for layer in network.layers:
        init(layer)


def _network_of_lists(
    acronym: str, sizes: list[int], shared: dict[str, Any], options: dict[str, Any]
) -> nn.Module:
    """torchkan's networks, whose layers all have a base branch, a norm and an activation."""
    name = activation_of(options.pop("base_activation"))
    arguments = linear_arguments(acronym, **_renamed(options))
    arguments |= {"base": name, "activation": name, "norm": "layer"}
    network = KAN(sizes, **shared, **arguments)
    _init_each(network, lambda layer: init_linear_(layer, acronym, options))
    remember_layout(network, LISTS)
    return network


def _network_of_bottlenecks(
    sizes: list[int], shared: dict[str, Any], options: dict[str, Any]
) -> nn.Module:
    def linear(n_in: int, n_out: int, *, dropout_position: str, **layer: Any) -> nn.Module:
        return BottleneckLinear(n_in, n_out, **layer)

    options["act"] = options.pop("base_activation")
    network = KAN(sizes, **shared, linear=linear, **bottleneck_arguments(**options))
    _init_each(network, init_bottleneck_linear_)
    return network


def _network_of_wavelets(
    sizes: list[int], shared: dict[str, Any], options: dict[str, Any]
) -> nn.Module:
    network = KAN(sizes, **shared, linear=WavKANLinear, wavelet=options["wavelet_type"])
    _init_each(network, init_wavelets_linear_)
    return network


_NETWORKS: dict[str, Callable[[list[int], dict[str, Any], dict[str, Any]], nn.Module]] = {
    "BottleNeckKAGN": _network_of_bottlenecks,
    "KAC_Net": partial(_network_of_lists, "KACN"),
    "KAL_Net": partial(_network_of_lists, "KALN"),
    "WavKAN": _network_of_wavelets,
}


def build_relu_network(*, a: int, b: int, **options: Any) -> nn.Module:
    """mlp_relukan, whose a and b are g and k (the published ones are lost on the way: 1 and 1)."""
    return build_network("ReLUKAN", g=a, k=b, **options)


def build_efficient(in_features: int, out_features: int, **options: Any) -> nn.Module:
    """efficient-kan's KANLinear."""
    return EfficientKANLinear(in_features, out_features, **_efficient_arguments(options))


def build_efficient_network(layers_hidden: Sequence[int], **options: Any) -> nn.Module:
    """efficient-kan's KAN."""
    return EfficientKAN(list(layers_hidden), **_efficient_arguments(options))


def _efficient_arguments(options: dict[str, Any]) -> dict[str, Any]:
    """efficient-kan's options by our names."""
    names = {
        "scale_noise": "noise_scale",
        "scale_base": "base_scale",
        "scale_spline": "spline_scale",
        "enable_standalone_scale_spline": "standalone_scale",
    }
    renamed = {names.get(name, name): value for name, value in options.items()}
    renamed["base"] = base = activation_of(renamed.pop("base_activation"))
    if not isinstance(base, str):
        raise ValueError(
            f"base_activation={base!r} must be one of {', '.join(ACTIVATIONS)} in this layer, or "
            "torch's module of it."
        )
    return renamed


def build_rational(
    channels_last: bool,
    *,
    num_groups: int,
    mode: str,
    legacy: bool,
    device: Any = None,
    layout: str = "",
) -> nn.Module:
    """KAT's activations; legacy=True starts from the published coefficients."""
    name = mode.lower()
    if legacy and name in ("gelu", "geglu", "swishglu", "erfc_softplus_2"):
        name = "published_" + name
    layer = GroupRational(num_groups, name, channels_last=channels_last).to(device)
    if layout:
        remember_layout(layer, layout)
    return layer


def build_radial(
    *, grid_min: float, grid_max: float, num_grids: int, denominator: float | None
) -> nn.Module:
    """RadialBasisFunction."""
    return RadialFunctions(grid_min, grid_max, num_grids, denominator or None)
