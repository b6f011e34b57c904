"""Published convolutions."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from torch import nn

from conv_kan.bases import create_basis
from conv_kan.families import get_family
from conv_kan.interop.layouts import VERSION_2
from conv_kan.interop.rules import remember_layout
from conv_kan.layers.bottleneck import Bottleneck
from conv_kan.layers.conv import KANConv
from conv_kan.layers.shuffled import ShuffledKANConv
from conv_kan.layers.wavkan import WavKANConv
from conv_kan.published.arguments import REQUIRED, Row, activation_of, norm_of
from conv_kan.published.family_init import published_init_
from conv_kan.published.init import init_bottleneck_, init_wavelets_, kaiming_

INSTANCE = (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)
BATCH = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
SIZES = {"input_dim": REQUIRED, "output_dim": REQUIRED, "kernel_size": REQUIRED}
GEOMETRY = {"groups": 1, "padding": 0, "stride": 1, "dilation": 1}
DEGREE = {"degree": 3}
_PHASES = {"g": 5, "k": 3, "train_ab": True}
INNER = {"dim_reduction": 4, "min_internal": 16}
_LEGACY = {"legacy": False}
_LEGENDRE_NOTE = "legacy=True scales by the minimum and maximum of the batch, as published."
_ORDER_NOTE = "legacy=True gives groups the published order of channels, which weights need."

# Acronym -> (parameters between kernel_size and groups, those behind dilation, keywords).
_FAMILIES: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "KAN": (
        {"spline_order": 3},
        {"grid_size": 5, "base_activation": nn.GELU, "grid_range": (-1, 1)},
        {},
    ),
    "FastKAN": (
        {},
        {"grid_size": 8, "base_activation": nn.SiLU, "grid_range": (-2, 2)},
        {},
    ),
    "KALN": (DEGREE, {}, _LEGACY),
    "KACN": (DEGREE, {}, {}),
    "KAGN": (DEGREE, {}, {}),
    "KAJN": (DEGREE, {}, {"a": 1.0, "b": 1.0}),
    "KABN": (DEGREE, {}, {}),
    "ReLUKAN": (_PHASES, {}, {}),
}


def _split(options: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """Sizes by position, and the arguments that all our convolutions share."""
    sizes = [options.pop(name) for name in SIZES]
    shared = {name: options.pop(name) for name in (*GEOMETRY, "dropout")}
    norm_kwargs = options.pop("norm_kwargs", {})
    shared["norm"] = norm_of(options.pop("norm_layer"), norm_kwargs, shared["groups"])
    return sizes, shared


def build_conv(acronym: str, ndim: int, **options: Any) -> nn.Module:
    """A KANConv of a published family, with its published initial weights."""
    family = get_family(acronym)
    sizes, shared = _split(options)
    if options.pop("legacy", False):
        options["squash"] = "minmax"
    if "base_activation" in options:
        shared["base"] = activation_of(options.pop("base_activation"))
    if "train_ab" in options:
        options["train_phases"] = options.pop("train_ab")
    c_in, c_out, kernel_size = sizes
    layer = family.conv(c_in, c_out, kernel_size, ndim=ndim, scale="none", **shared, **options)
    published_init_(layer, family.name)
    return layer


def build_version_2(ndim: int, *, legacy: bool, degree: int, **options: Any) -> nn.Module:
    """KAGN with one convolution for all groups."""
    sizes, shared = _split(options)
    layer_class = ShuffledKANConv if legacy and shared["groups"] > 1 else KANConv
    basis = create_basis("gram", degree=degree, scale="none")
    layer = layer_class(*sizes, ndim=ndim, basis=basis, **shared)
    published_init_(layer, "gram")
    kaiming_(layer.basis_weight)  # unlike in the first version, with the right fan_in
    remember_layout(layer, VERSION_2)
    return layer


def build_bottleneck(basis: str, ndim: int, **options: Any) -> nn.Module:
    """A Bottleneck around a Gram or a ReLU basis; for Gram, dropout injects noise."""
    sizes, shared = _split(options)
    shared["reduction"], shared["min_inner"] = (options.pop(name) for name in INNER)
    if "train_ab" in options:
        options["train_phases"] = options.pop("train_ab")
    if basis == "gram":
        shared["dropout_kind"] = "noise"
    phi = create_basis(basis, scale="none", **options)
    layer = Bottleneck(*sizes, ndim=ndim, basis=phi, **shared)
    init_bottleneck_(layer, basis)
    return layer


def build_wavelets(ndim: int, *, wavelet_type: str, wav_version: str, **options: Any) -> nn.Module:
    """A WavKANConv; the versions are one function and differ in how weights are spelled."""
    sizes, shared = _split(options)
    versions = ("base", "fast", "fast_plus_one") if ndim < 3 else ("base", "fast")
    if wav_version not in versions:
        raise ValueError(f"wav_version={wav_version!r} must be one of {', '.join(versions)}.")
    layer = WavKANConv(*sizes, ndim=ndim, wavelet=wavelet_type, **shared)
    init_wavelets_(layer)
    remember_layout(layer, wav_version)
    return layer


def conv_rows() -> list[Row]:
    """All convolutions in one to three dimensions."""
    return [row for ndim in (1, 2, 3) for row in [*_family_rows(ndim), *_other_rows(ndim)]]


def _end(norms: tuple[type[nn.Module], ...], ndim: int) -> dict[str, Any]:
    return {"dropout": 0.0, "norm_layer": norms[ndim - 1]}


def _family_rows(ndim: int) -> list[Row]:
    rows = []
    for acronym, (first, last, keywords) in _FAMILIES.items():
        parameters = {**SIZES, **first, **GEOMETRY, **last, **_end(INSTANCE, ndim)}
        build = partial(build_conv, acronym, ndim)
        note = _LEGENDRE_NOTE if "legacy" in keywords else ""
        rows.append(Row(f"{acronym}Conv{ndim}DLayer", parameters, build, keywords, True, note))
    return rows


def _other_rows(ndim: int) -> list[Row]:
    end = _end(INSTANCE, ndim)
    gram: Mapping[str, Any] = {**SIZES, **DEGREE, **GEOMETRY, **end}
    wavelets = {"dropout": 0.0, "wavelet_type": "mexican_hat"}
    wavelets |= {"norm_layer": BATCH[ndim - 1], "wav_version": "fast"}
    return [
        Row(
            f"KAGNConv{ndim}DLayerV2",
            gram,
            partial(build_version_2, ndim),
            _LEGACY,
            True,
            _ORDER_NOTE,
        ),
        Row(
            f"BottleNeckKAGNConv{ndim}DLayer",
            {**gram, "dim_reduction": 4},
            partial(build_bottleneck, "gram", ndim),
            {"min_internal": 16},
            True,
        ),
        Row(
            f"BottleNeckReLUKANConv{ndim}DLayer",
            {**SIZES, **_PHASES, **GEOMETRY, **end},
            partial(build_bottleneck, "relu", ndim),
            INNER,
            True,
        ),
        Row(
            f"WavKANConv{ndim}DLayer",
            {**SIZES, **GEOMETRY, **wavelets},
            partial(build_wavelets, ndim),
            {},
            True,
        ),
    ]
