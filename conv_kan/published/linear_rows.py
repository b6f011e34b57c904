"""The rows of published fully connected layers, networks and rational activations."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import nn

from conv_kan.interop.layouts import TORCH_RATIONAL
from conv_kan.published.arguments import REQUIRED, Row
from conv_kan.published.linear import (
    build_bottleneck_linear,
    build_efficient,
    build_efficient_network,
    build_linear,
    build_network,
    build_radial,
    build_rational,
    build_relu_network,
    build_wavelets_linear,
)

_FEATURES = ("input_features", "output_features")
_DIMS = ("input_dim", "output_dim")
_CHANNELS = ("in_channels", "out_channels")
_SPLINES = {"grid_size": 5, "spline_order": 3, "base_activation": nn.GELU, "grid_range": (-1, 1)}
_DEGREE = {"degree": 3}
_LEGACY = {"legacy": False}
_INNER = {"dim_reduction": 8, "min_internal": 16}
_HIDDEN = {"layers_hidden": REQUIRED}
_DROPOUT = {"dropout": 0.0}
_DECAY = {"l1_decay": 0.0}
_FIRST = {"first_dropout": True}
_NOTE = "legacy=True scales by the minimum and maximum of the batch, as published."


_START = {**_HIDDEN, **_DROPOUT}
_WAVELET = {"wavelet_type": "mexican_hat"}
_IN_OUT = ("in_features", "out_features")
_SIZES = ("input_size", "output_size")
_RELU_ORDER = ("input_size", "g", "k", "output_size")
_PHASES = {"g": REQUIRED, "k": REQUIRED, "train_ab": True}
_FAST = {
    "grid_min": -2.0,
    "grid_max": 2.0,
    "num_grids": 8,
    "use_base_update": True,
    "base_activation": nn.SiLU,
    "spline_weight_init_scale": 0.1,
}
_EFFICIENT = {
    "grid_size": 5,
    "spline_order": 3,
    "scale_noise": 0.1,
    "scale_base": 1.0,
    "scale_spline": 1.0,
    "enable_standalone_scale_spline": True,
    "base_activation": nn.SiLU,
    "grid_eps": 0.02,
    "grid_range": (-1, 1),
}
_Network = tuple[str, dict[str, Any], dict[str, Any]]


def _sizes(names: tuple[str, str]) -> dict[str, Any]:
    return {name: REQUIRED for name in names}


def _linear(
    name: str,
    acronym: str,
    sizes: tuple[str, str],
    options: dict[str, Any],
    keywords: dict[str, Any] | None = None,
    order: tuple[str, ...] = (),
) -> Row:
    """A row of a KANLinear; `order` is that of the first parameters if not sizes, options."""
    parameters = {**_sizes(sizes), **options}
    parameters = {**{key: parameters[key] for key in order}, **parameters}
    build = partial(build_linear, acronym, sizes)
    return Row(name, parameters, build, keywords or {}, note=_NOTE if keywords else "")


def layer_rows() -> list[Row]:
    """torch-conv-kan's layers, and efficient-kan's with its network."""
    act, degree = {"act": nn.SiLU}, {"degree": REQUIRED}
    silu = {**_DEGREE, "base_activation": nn.SiLU}
    polynomials = [
        _linear("KALNLayer", "KALN", _FEATURES, silu, _LEGACY),
        _linear("ChebyKANLayer", "KACN", _DIMS, degree),
        _linear("GRAMLayer", "KAGN", _CHANNELS, {**_DEGREE, **act}),
        _linear("JacobiKANLayer", "KAJN", _DIMS, {**degree, "a": 1.0, "b": 1.0, **act}),
        _linear("BernsteinKANLayer", "KABN", _DIMS, {**degree, **act}),
    ]
    bottleneck = {**_sizes(_CHANNELS), **_DEGREE, **act, **_INNER}
    wavelets = {**_sizes(_IN_OUT), **_WAVELET}
    return [
        *polynomials,
        _linear("KANLayer", "KAN", _FEATURES, _SPLINES),
        _linear("FastKANLayer", "FastKAN", _DIMS, _FAST),
        _linear("ReLUKANLayer", "ReLUKAN", _SIZES, _PHASES, order=_RELU_ORDER),
        Row("BottleNeckGRAMLayer", bottleneck, build_bottleneck_linear),
        Row("WavKANLayer", wavelets, build_wavelets_linear),
        Row("KANLinear", {**_sizes(_IN_OUT), **_EFFICIENT}, build_efficient),
        Row(
            "EfficientKAN",
            {**_HIDDEN, **_EFFICIENT},
            build_efficient_network,
            note="efficient-kan's KAN, whose name torch-conv-kan's has here.",
        ),
    ]


def network_rows() -> list[Row]:
    """torch-conv-kan's networks and the functions that make them, and torchkan's."""
    found = {**_classes(), **_functions(), **_lists()}
    rows = [
        Row(name, parameters, partial(build_network, acronym), keywords, ignores=name in _classes())
        for name, (acronym, parameters, keywords) in found.items()
    ]
    relu = {**_START, "a": 1, "b": 1, "train_ab": True, **_DECAY}
    return [*rows, Row("mlp_relukan", relu, build_relu_network, _FIRST)]


def _classes() -> dict[str, _Network]:
    """The networks, which ignore other keywords: name -> acronym, parameters, keywords."""
    front, silu = {**_START, **_DECAY}, {"base_activation": nn.SiLU}
    usual = {**front, **_DEGREE, **silu, **_FIRST}
    fast = {"grid_range": (-2, 2), "grid_size": 8, "use_base_update": True, **silu}
    jacobi = {**front, **_DEGREE, "a": 1.0, "b": 1.0, **silu, **_FIRST}
    return {
        "KAN": ("KAN", {**_START, **_SPLINES, **_DECAY, **_FIRST}, {}),
        "KALN": ("KALN", usual, _LEGACY),
        "FastKAN": ("FastKAN", {**front, **fast, "spline_weight_init_scale": 0.1, **_FIRST}, {}),
        "KACN": ("KACN", {**front, **_DEGREE, **_FIRST}, {}),
        "KAGN": ("KAGN", usual, {}),
        "BottleNeckKAGN": ("BottleNeckKAGN", {**usual, **_INNER}, {}),
        "KABN": ("KABN", usual, {}),
        "KAJN": ("KAJN", jacobi, {}),
        "WavKAN": ("WavKAN", {**front, **_FIRST, **_WAVELET}, {}),
        "ReLUKAN": ("ReLUKAN", {**front, "g": 1, "k": 1, "train_ab": True, **_FIRST}, {}),
    }


def _lists() -> dict[str, _Network]:
    """torchkan's networks, whose weights are lists."""
    lists = {**_HIDDEN, "polynomial_order": 3, "base_activation": nn.SiLU}
    return {"KAL_Net": ("KAL_Net", lists, _LEGACY), "KAC_Net": ("KAC_Net", lists, _LEGACY)}


def _functions() -> dict[str, _Network]:
    """The functions that make networks, which have other defaults."""
    usual = {**_START, **_DEGREE, "base_activation": nn.GELU, **_DECAY}
    fast = {"grid_size": 5, "base_activation": nn.GELU, "grid_range": (-1, 1)}
    plain = {**_START, **_DEGREE, **_DECAY}
    return {
        "mlp_kan": ("KAN", {**_START, **_SPLINES, **_DECAY}, _FIRST),
        "mlp_fastkan": ("FastKAN", {**_START, **fast, **_DECAY}, _FIRST),
        "mlp_kaln": ("KALN", usual, {**_FIRST, **_LEGACY}),
        "mlp_kabn": ("KABN", usual, _FIRST),
        "mlp_kacn": ("KACN", plain, _FIRST),
        "mlp_kajn": ("KAJN", {**plain, "a": 1.0, "b": 1.0}, _FIRST),
        "mlp_kagn": ("KAGN", usual, _FIRST),
        "mlp_bottleneck_kagn": ("BottleNeckKAGN", {**usual, **_INNER}, _FIRST),
        "mlp_wav_kan": ("WavKAN", {**_START, **_WAVELET, **_DECAY}, _FIRST),
    }


def function_rows() -> list[Row]:
    """KAT's activations, and the radial functions alone. The default device is torch's."""
    mode = {"num_groups": 8, "mode": "gelu"}
    note = "legacy=True starts from the published coefficients, which miss some functions."
    radial = {"grid_min": -2.0, "grid_max": 2.0, "num_grids": 8, "denominator": None}
    build = partial(build_rational, True)
    return [
        Row("KAT_Group", {**mode, "device": None}, build, _LEGACY, note=note),
        Row("KAT_Group2D", {**mode, "device": None}, partial(build_rational, False), _LEGACY,
            note=note),
        Row("KAT_Group_Torch", mode, partial(build, layout=TORCH_RATIONAL), _LEGACY, note=note),
        Row("RadialBasisFunction", radial, build_radial),
    ]  # fmt: skip
