"""The parameters of published networks, in their order, with their defaults."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from torch import nn

from conv_kan.ops.maths.norms import ChannelLayerNorm
from conv_kan.published.arguments import REQUIRED

# Defaults that most networks have.
_USUAL: dict[str, Any] = {
    "layer_sizes": REQUIRED,
    "input_channels": REQUIRED,
    "num_classes": REQUIRED,
    "groups": 1,
    "degree": 3,
    "spline_order": 3,
    "grid_size": 5,
    "base_activation": nn.GELU,
    "grid_range": (-1, 1),
    "wavelet_type": "mexican_hat",
    "wav_version": "fast",
    "degree_out": 3,
    "width_scale": 1,
    "hidden_layer_dim": None,
    "dropout": 0.0,
    "dropout_linear": 0.25,
    "l1_decay": 0.0,
    "l1_penalty": 0.0,
    "affine": False,
    "norm_layer": nn.InstanceNorm2d,
    "num_experts": 8,
    "noisy_gating": True,
    "k": 2,
    "use_first_maxpool": True,
    "growth_rate": 32,
    "num_init_features": 64,
    "vgg_type": "VGG11",
    "head_type": "Linear",
    "expected_feature_shape": (7, 7),
    "last_attention": False,
    "sa_inner_projection": None,
    "in_channels": 3,
    "is_bottleneck": True,
    "drop_path_rate": 0,
    "patch_size": 4,
    "post_block_attention": False,
    "inner_projection_attention_scale": 1,
    "dim_reduction": 8,
    "unet_depth": 4,
    "unet_layers": 2,
    "use_bottleneck": True,
    "mixer_type": "conv",
    "inner_projection_attention": None,
    "focal_window": 3,
    "focal_level": 2,
    "focal_factor": 2,
    "use_postln_in_modulation": True,
    "normalize_modulator": True,
    "full_kan": True,
}
_SPLINES = "spline_order grid_size base_activation grid_range"
_CENTRES = "grid_size base_activation grid_range"
_MIXTURE = "num_experts noisy_gating k"
_BATCH: dict[str, Any] = {"affine": True, "norm_layer": nn.BatchNorm2d}


class Signature(NamedTuple):
    """Networks with the same parameters; `changed` are those with other defaults than usual."""

    names: str
    order: str
    changed: Mapping[str, Any] = {}

    @property
    def parameters(self) -> dict[str, Any]:
        return {key: self.changed.get(key, _USUAL[key]) for key in self.order.split()}


# --------------------------------------------------------------------------------------- baselines
_FRONT = "layer_sizes num_classes input_channels"
_BACK = "degree_out groups dropout dropout_linear l1_penalty"
_SMALL = {"num_classes": 10, "input_channels": 1, "dropout_linear": 0.0}
_TWO = {"degree_out": 2}  # with which all numbers but 0 and 1 mean a KAN

BASELINES = (
    Signature("SimpleConv EightSimpleConv", f"{_FRONT} groups", _SMALL),
    Signature(
        "SimpleConvKALN EightSimpleConvKALN SimpleConvKACN EightSimpleConvKACN SimpleConvKAGN "
        "EightSimpleConvKAGN",
        f"{_FRONT} degree {_BACK} affine norm_layer",
        {**_SMALL, **_BATCH},
    ),
    Signature(
        "SimpleConvKAN",
        f"{_FRONT} spline_order {_BACK} affine norm_layer",
        {**_SMALL, **_BATCH, **_TWO},
    ),
    Signature(
        "EightSimpleConvKAN",
        f"{_FRONT} spline_order {_BACK} affine norm_layer",
        {**_SMALL, **_BATCH},
    ),
    Signature(
        "SimpleFastConvKAN EightSimpleFastConvKAN",
        f"{_FRONT} grid_size {_BACK} affine norm_layer",
        {**_SMALL, **_BATCH, **_TWO, "grid_size": 8},
    ),
    Signature("SimpleConvWavKAN EightSimpleConvWavKAN", f"{_FRONT} wavelet_type {_BACK}", _SMALL),
    Signature(
        "SimpleMoEConvKAGNBN EightSimpleMoEConvKAGNBN",
        f"{_FRONT} degree {_BACK} affine norm_layer {_MIXTURE}",
        {**_SMALL, **_BATCH, "num_experts": 16, "k": 4},
    ),
)

# ------------------------------------------------------------------------- residual networks
_START = "input_channels num_classes groups"
_SCALED = f"{_START} degree width_scale"
_BASIC = "hidden_layer_dim dropout l1_decay dropout_linear affine"
_DEEP = "hidden_layer_dim dropout dropout_linear l1_decay affine"
_LATE = "dropout dropout_linear l1_decay hidden_layer_dim affine"
_DROPS = {"dropout": 0.15}

RESIDUAL = (
    Signature("reskanet_18x32p", f"{_START} {_SPLINES} {_BASIC}"),
    Signature("fast_reskanet_18x32p", f"{_START} {_CENTRES} {_BASIC}"),
    Signature("reskacnet_18x32p", f"{_START} degree {_BASIC}"),
    Signature(
        "reskalnet_18x32p reskalnet_18x64p reskagnet_18x32p reskagnet_34x32p reskagnetbn_18x32p "
        "reskagnetbn_34x32p",
        f"{_SCALED} {_BASIC}",
    ),
    Signature("reskagnet18", f"{_SCALED} {_BASIC} norm_layer"),
    Signature("reskagnetbn_moe_18x32p reskagnetbn_moe_34x32p", f"{_SCALED} {_BASIC} {_MIXTURE}"),
    Signature("moe_reskalnet_18x64p", f"{_SCALED} {_MIXTURE} {_BASIC}"),
    Signature(
        "moe_reskalnet_50x64p moe_reskalnet_101x64p moe_reskalnet_152x64p",
        f"{_SCALED} {_MIXTURE} {_DEEP}",
        _DROPS,
    ),
    Signature("reskalnet_50x64p", f"{_SCALED} {_LATE}", _DROPS),
    Signature(
        "reskalnet_101x32p reskalnet_101x64p reskagnet_101x64p reskalnet_152x32p reskalnet_152x64p",
        f"{_SCALED} {_DEEP}",
        _DROPS,
    ),
    Signature(
        "reskagnet50 reskagnet_bn50 reskagnet101 reskagnet152",
        f"{_SCALED} {_LATE} norm_layer",
        {**_DROPS, "affine": True},
    ),
)

# ------------------------------------------------------------------------------- dense networks
_GROWING = "growth_rate num_init_features affine norm_layer"
_POOLED = f"dropout l1_decay use_first_maxpool {_GROWING}"
_SQUEEZED = f"dropout dropout_linear l1_decay use_first_maxpool {_GROWING}"
_TINY = f"dropout l1_decay {_GROWING}"
_AFFINE = {"affine": True}
_DENSE_BATCH = {**_BATCH, "dropout_linear": 0.0}
_WIDE = {"growth_rate": 48}

DENSE = (
    Signature("tiny_densekanet", f"{_START} {_SPLINES} {_TINY}", _AFFINE),
    Signature("tiny_fast_densekanet", f"{_START} {_CENTRES} {_TINY}", _AFFINE),
    Signature(
        "tiny_densekalnet tiny_densekacnet tiny_densekagnet", f"{_START} degree {_TINY}", _AFFINE
    ),
    Signature(
        "tiny_densekagnet_bn",
        f"{_START} degree dropout dropout_linear l1_decay {_GROWING}",
        _DENSE_BATCH,
    ),
    Signature(
        "tiny_densekagnet_moebn",
        f"{_START} degree dropout dropout_linear l1_decay {_GROWING} {_MIXTURE}",
        _DENSE_BATCH,
    ),
    Signature("densekanet121", f"{_START} {_SPLINES} {_POOLED}", _AFFINE),
    Signature("fast_densekanet121", f"{_START} {_CENTRES} {_POOLED}", _AFFINE),
    Signature(
        "densekacnet121 densekalnet121 densekalnet169 densekalnet201 densekagnet121 densekagnet169 "
        "densekagnet201",
        f"{_START} degree {_POOLED}",
        _AFFINE,
    ),
    Signature("densekalnet161 densekagnet161", f"{_START} degree {_POOLED}", {**_AFFINE, **_WIDE}),
    Signature(
        "densekagnet121bn densekagnet169bn densekagnet201bn",
        f"{_START} degree {_SQUEEZED}",
        _DENSE_BATCH,
    ),
    Signature("densekagnet161bn", f"{_START} degree {_SQUEEZED}", {**_DENSE_BATCH, **_WIDE}),
    Signature(
        "densekagnet121moebn densekagnet169moebn densekagnet201moebn",
        f"{_START} degree {_SQUEEZED} {_MIXTURE}",
        _DENSE_BATCH,
    ),
    Signature(
        "densekagnet161moebn",
        f"{_START} degree {_SQUEEZED} {_MIXTURE}",
        {**_DENSE_BATCH, **_WIDE},
    ),
)

# --------------------------------------------------------------------------------- VGG and RDNet
_VGG = "dropout l1_decay dropout_linear vgg_type head_type expected_feature_shape width_scale"
_ATTENTION = "last_attention sa_inner_projection"

VGGS = (
    Signature("VGGKAN vggkan", f"{_START} {_SPLINES} {_VGG} affine norm_layer"),
    Signature("FastVGGKAN fast_vggkan", f"{_START} {_CENTRES} {_VGG} affine norm_layer"),
    Signature("VGGKALN vggkaln VGGKACN vggkacn", f"{_START} degree {_VGG} affine norm_layer"),
    Signature(
        "VGGKAGN vggkagn VGGKAGN_BN vggkagn_bn",
        f"{_START} degree {_VGG} affine norm_layer {_ATTENTION}",
    ),
    Signature(
        "MoE_VGGKAGN_BN", f"{_START} degree {_VGG} affine norm_layer {_MIXTURE} {_ATTENTION}"
    ),
    Signature(
        "moe_vggkagn_bn", f"{_START} degree {_VGG} affine norm_layer {_ATTENTION} {_MIXTURE}"
    ),
    Signature("MoEVGGKAGN", f"{_START} degree {_VGG} affine {_MIXTURE}"),
    Signature("moe_vggkagn", f"{_START} degree {_VGG} {_MIXTURE} affine"),
    Signature(
        "WavVVGKAN vgg_wav_kan",
        f"{_START} wavelet_type wav_version {_VGG} norm_layer affine",
    ),
)

RDNETS = (
    Signature(
        "kagrdnet_tiny kagrdnet_small kagrdnet_base kagrdnet_large",
        "in_channels num_classes is_bottleneck degree dropout dropout_linear drop_path_rate "
        "patch_size post_block_attention inner_projection_attention_scale norm_layer",
        {"num_classes": 1000, "dropout": 0, "dropout_linear": 0, "norm_layer": ChannelLayerNorm},
    ),
)

# ------------------------------------------------------------------------------- U- and U2-networks
_ALL_SCALED = "width_scale dropout l1_decay affine norm_layer"
_CENTRED = {**_AFFINE, "base_activation": nn.SiLU, "grid_range": (-2, 2)}

UNETS = (
    Signature("ukanet_18", f"{_START} {_SPLINES} {_ALL_SCALED}", _AFFINE),
    Signature("fast_ukanet_18", f"{_START} {_CENTRES} {_ALL_SCALED}", _AFFINE),
    Signature("ukacnet_18", f"{_START} degree {_ALL_SCALED}", _AFFINE),
    Signature("ukalnet_18", f"{_SCALED} affine norm_layer dropout l1_decay", _AFFINE),
    Signature("ukagnet_18 ukagnetnb_18", f"{_SCALED} affine dropout l1_decay norm_layer", _AFFINE),
    Signature(
        "UKAGNet",
        "input_channels num_classes unet_depth unet_layers groups width_scale use_bottleneck "
        "mixer_type degree affine dropout norm_layer inner_projection_attention focal_window "
        "focal_level focal_factor use_postln_in_modulation normalize_modulator full_kan",
        {**_BATCH, "input_channels": 3, "num_classes": 1},
    ),
    Signature(
        "u2kagnet u2kalnet u2kacnet u2kagnet_small u2kagnet_bn_small u2kalnet_small u2kacnet_small",
        f"{_START} degree {_ALL_SCALED}",
        _AFFINE,
    ),
    Signature(
        "u2kagnet_bn",
        f"{_SCALED} dropout l1_decay affine dim_reduction norm_layer",
        _AFFINE,
    ),
    Signature(
        "u2kanet u2kanet_small",
        f"{_START} {_SPLINES} dropout l1_decay width_scale affine norm_layer",
        _AFFINE,
    ),
    Signature(
        "fast_u2kanet fast_u2kanet_small",
        f"{_START} {_CENTRES} dropout l1_decay width_scale affine norm_layer",
        _CENTRED,
    ),
    Signature("u2net u2net_small", f"{_START} width_scale dropout l1_decay"),
)


def signatures() -> Iterator[tuple[str, dict[str, Any]]]:
    """The name and the parameters of every published network."""
    for signature in (*BASELINES, *RESIDUAL, *DENSE, *VGGS, *RDNETS, *UNETS):
        for name in signature.names.split():
            yield name, signature.parameters
