"""Published arguments of networks, and the options that they are here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from conv_kan.names import ACTIVATIONS
from conv_kan.ops.maths.norms import ChannelLayerNorm
from conv_kan.published.arguments import activation_of
from models.options import advise
from models.registry import model_options

_HEADS = {"Linear": "linear", "VGG": "vgg", "Matryoshka": "matryoshka", "KAN": "kan",
          "HiddenKAN": "hidden_kan", "KANtryoshka": "kantryoshka"}  # fmt: skip
_MIXERS = {"conv": "none", "self-att": "attention", "focal": "focal"}
_NORMS: dict[Any, str] = {
    None: "none",
    nn.BatchNorm2d: "batch",
    nn.InstanceNorm2d: "instance",
    ChannelLayerNorm: "layer",
}
_VERSIONS = ("base", "fast", "fast_plus_one")  # of wavelets, which are one function
# What published networks take and no network here has.
WITHOUT_EFFECT = ("l1_decay", "l1_penalty", "hidden_layer_dim", "wav_version")


def norm_name(norm_layer: Any) -> str:
    """The name of the norm whose class this is.

    Raises: ValueError for a class that no option stands for.
    """
    name = _NORMS.get(norm_layer) if not isinstance(norm_layer, str) else None
    if getattr(norm_layer, "__name__", "") == "LayerNorm2d":  # timm's, and torchvision's
        name = "layer"
    if name is None:
        raise ValueError(
            f"norm_layer={norm_layer!r} is none of the norms of networks; pass nn.BatchNorm2d, "
            "nn.InstanceNorm2d, conv_kan.ops.maths.norms.ChannelLayerNorm or None"
        )
    return name


def base_name(base_activation: Any) -> str:
    """The name of an activation: a class, a module, a function or the name itself.

    Raises: ValueError for one that learns or that has no name here.
    """
    try:
        found = activation_of(base_activation)
    except ValueError:
        found = base_activation
    if not isinstance(found, str) or found not in ACTIVATIONS:
        raise ValueError(
            f"base_activation={base_activation!r} is no activation of networks; pass one of "
            f"{', '.join(ACTIVATIONS)}, or torch's class of it"
        )
    return found


def head_name(head_type: str) -> str:
    """The name of a head.

    Raises: ValueError for an unknown one, which gives a network without a head there.
    """
    if head_type not in _HEADS:
        raise ValueError(
            f"head_type={head_type!r} is not known; {advise(head_type, _HEADS)}. Features without "
            "a head come from model.reset_classifier(0)"
        )
    return _HEADS[head_type]


def mixer_name(mixer_type: str) -> str:
    """The name of what mixes joined maps; published "conv" is nothing but the convolutions.

    Raises: ValueError for an unknown one.
    """
    if mixer_type not in _MIXERS:
        raise ValueError(f"mixer_type={mixer_type!r} is not known; {advise(mixer_type, _MIXERS)}")
    return _MIXERS[mixer_type]


def _form(is_bottleneck: bool) -> str:
    return "bottleneck" if is_bottleneck else "plain"


def _whole(divisor: float) -> float:
    return int(divisor) if divisor == int(divisor) else divisor


# Published argument -> our option; others have their own names.
_RENAMED = {
    "norm_layer": "norm",
    "base_activation": "base",
    "head_type": "head",
    "expected_feature_shape": "feature_shape",
    "use_first_maxpool": "stem_pool",
    "k": "active_experts",
    "wavelet_type": "wavelet",
    "in_channels": "input_channels",
    "is_bottleneck": "form",
    "drop_path_rate": "drop_path",
    "post_block_attention": "attention",
    "inner_projection_attention_scale": "sa_inner_projection",
    "dim_reduction": "reduction",
    "unet_depth": "depth",
    "unet_layers": "layers",
    "use_bottleneck": "form",
    "mixer_type": "mixer",
    "inner_projection_attention": "attention_channels",
    "use_postln_in_modulation": "focal_norm",
    "normalize_modulator": "focal_normalize",
    "full_kan": "focal_full",
}
_CONVERTED: dict[str, Callable[[Any], Any]] = {
    "norm_layer": norm_name,
    "base_activation": base_name,
    "head_type": head_name,
    "is_bottleneck": _form,
    "use_bottleneck": _form,
    "mixer_type": mixer_name,
    "inner_projection_attention_scale": _whole,
}


def options_of(model: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a model that published arguments stand for, and its numbers of channels.

    Raises: ValueError for a value that no option has.
    """
    version = arguments.get("wav_version", "fast")
    if version not in _VERSIONS:
        raise ValueError(f"wav_version={version!r} is not known; {advise(version, _VERSIONS)}")
    options = {
        _RENAMED.get(name, name): _CONVERTED[name](value) if name in _CONVERTED else value
        for name, value in arguments.items()
        if name not in WITHOUT_EFFECT
    }
    known = model_options(model)
    if options.get("degree_out", 2) < 2:
        options["head"] = "linear"
    if options.get("head") == "linear" or "degree_out" not in known:
        options.pop("degree_out", None)
    if not options.get("attention", True):
        options.pop("sa_inner_projection", None)
    if options.get("mixer", "focal") != "focal":
        options = {key: value for key, value in options.items() if not key.startswith("focal_")}
    if options.get("mixer", "attention") != "attention":
        options.pop("attention_channels", None)
    if "norm" in options and "stem_norm" in known:
        options["stem_norm"] = options["norm"]
    return options
