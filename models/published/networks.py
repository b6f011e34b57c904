"""What makes a published network here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from torch import nn

from conv_kan.published import list_published as list_layers
from conv_kan.published.arguments import Row, make_function, no_decay, say_once
from conv_kan.published.elsewhere import find_elsewhere, is_network
from models.create import create_model
from models.options import nearest_names
from models.published.arguments import options_of
from models.published.init import init_published_
from models.published.signatures import signatures
from models.rows import baselines, densekanet, rdnet, reskanet, u2net, unet, vggkan
from models.rows.common import KAN_HEADS

_FAMILIES = (baselines, reskanet, densekanet, vggkan, rdnet, unet, u2net)
_OPTIONS = {name: chosen for family in _FAMILIES for name, chosen in family.PUBLISHED.items()}
# Published classes -> our names: those of 4 and 8 layers, by kind, and others.
_KINDS = {
    "Conv": "conv",
    "ConvKAN": "conv_kan",
    "FastConvKAN": "conv_fastkan",
    "ConvKALN": "conv_kaln",
    "ConvKACN": "conv_kacn",
    "ConvKAGN": "conv_kagn",
    "ConvWavKAN": "conv_wavkan",
    "MoEConvKAGNBN": "conv_moe_kagn_bn",
}
OURS: dict[str, str] = {
    **{f"Simple{theirs}": f"simple_{ours}" for theirs, ours in _KINDS.items()},
    **{f"EightSimple{theirs}": f"eight_simple_{ours}" for theirs, ours in _KINDS.items()},
    "VGGKAN": "vggkan",
    "FastVGGKAN": "fast_vggkan",
    "VGGKALN": "vggkaln",
    "VGGKACN": "vggkacn",
    "VGGKAGN": "vggkagn",
    "VGGKAGN_BN": "vggkagn_bn",
    "MoEVGGKAGN": "moe_vggkagn",
    "MoE_VGGKAGN_BN": "moe_vggkagn_bn",
    "WavVVGKAN": "vgg_wav_kan",
    "UKAGNet": "ukagnet",
}
# Networks whose KAN heads are those of mlp_...: with the base_activation, or else with GELU.
_WITH_MLP = {"vggkan", "fast_vggkan", "vggkaln", "vggkagn", "vggkagn_bn", "moe_vggkagn",
             "moe_vggkagn_bn", "tiny_densekanet", "tiny_fast_densekanet"}  # fmt: skip


def build_published(model: str, **arguments: Any) -> nn.Module:
    """Our model for published arguments, with published initial weights.

    Raises: ValueError for an argument that stands for no option, and what create_model raises.
    """
    for name in ("l1_decay", "l1_penalty"):
        if arguments.get(name):
            say_once(no_decay(name, arguments[name]))
    if arguments.get("hidden_layer_dim"):
        say_once(f"hidden_layer_dim={arguments['hidden_layer_dim']} does nothing, as published.")
    network = create_model(model, **published_options(model, arguments))
    if not next(network.parameters()).is_meta:  # where there is nothing to draw
        init_published_(network)
    return network


def published_options(model: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What create_model is told for published arguments; others are as in the published network.

    Raises: ValueError for an argument that stands for no option.
    """
    options = {**_OPTIONS[model], **options_of(model, arguments)}
    if options.get("form") == "plain":  # a network of bottlenecks without them
        options.pop("reduction", None)
    if model in _WITH_MLP and options.get("head", "kan") in KAN_HEADS:
        options["head_activation"] = options.get("base", "gelu")
    return options


def _function(name: str, parameters: dict[str, Any]) -> Callable[..., nn.Module]:
    model = OURS.get(name, name)
    note = f"create_model({model!r}, ...) is the network with the defaults of this library."
    row = Row(name, parameters, partial(build_published, model), note=note)
    return make_function(row, __package__ or "")


# The networks of one kind of layers, by their published names.
NETWORKS = {name: _function(name, parameters) for name, parameters in signatures()}


def find_network(name: str) -> Callable[..., nn.Module]:
    """The function of a published network.

    Raises: ValueError for an unknown name -> the nearest, or where it is found.
    """
    if name not in NETWORKS:
        raise ValueError(unknown(name, NETWORKS))
    return NETWORKS[name]


def unknown(name: str, known: Iterable[str]) -> str:
    """Say where a published name is found that is none of these networks, or what was meant."""
    if name in list_layers():
        return f"{name!r} is a layer: conv_kan.published.{name}"
    where = None if is_network(name) else find_elsewhere(name)
    if where is not None:
        return f"{name!r} is no network of models.published: {where}"
    near = nearest_names(name, known, 3)
    hint = f"; the nearest are {', '.join(near)}" if near else ""
    return f"{name!r} is no published network{hint}; models.published.list_published() names all"
