"""Published mixtures of experts, attention and focal modulation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from torch import nn

from conv_kan.bases import create_basis
from conv_kan.layers.attention import SelfAttention
from conv_kan.layers.bottleneck import Bottleneck
from conv_kan.layers.conv import KANConv
from conv_kan.layers.focal import FocalModulation
from conv_kan.layers.mixture import MixtureOfExperts, WithPenalty
from conv_kan.published.arguments import REQUIRED, Row, layer_norm, norm_of
from conv_kan.published.conv import BATCH, DEGREE, GEOMETRY, INNER, INSTANCE, SIZES
from conv_kan.published.family_init import published_init_
from conv_kan.published.init import init_mixture_, init_mixture_in_bottleneck_
from conv_kan.published.linear import build_linear

Rows = Mapping[str, Row]
_PHASES = {"g": 5, "k": 3, "train_ab": True}
_LEGACY = {"legacy": False}
_EXPERTS = {
    "KAN": "KAN",
    "FastKAN": "FastKAN",
    "KALN": "KALN",
    "KACN": "KACN",
    "KAGN": "KAGN",
    "WavKAN": "WavKAN",
    "FullBottleneckKAGN": "BottleNeckKAGN",
}
_ROPE_NOTE = "legacy=True takes the first token for a class token, as published."
_FOCAL_NOTE = "legacy=True gives the depthwise layers the published order of channels."


def build_mixture(
    expert: Row,
    *,
    input_size: int,
    output_size: int,
    num_experts: int,
    noisy_gating: bool,
    k: int,
    **options: Any,
) -> nn.Module:
    """A mixture of published convolutions."""

    def make() -> nn.Module:
        return expert.build(input_dim=input_size, output_dim=output_size, **options)

    mixture = MixtureOfExperts(
        input_size, expert=make, num_experts=num_experts, k=k, noisy=noisy_gating
    )
    init_mixture_(mixture, copies=True)
    return WithPenalty(mixture)


def build_mixture_in_bottleneck(
    ndim: int,
    *,
    degree: int,
    num_experts: int,
    noisy_gating: bool,
    k: int,
    pregate: bool,
    **options: Any,
) -> nn.Module:
    """A bottleneck around a mixture of Gram convolutions, whose dropout injects noise."""

    def expert(channels: int, kernel_size: int, arguments: dict[str, Any]) -> nn.Module:
        layer = KANConv(
            channels, channels, kernel_size, **arguments, dropout=dropout, dropout_kind="noise"
        )
        published_init_(layer, "gram")
        return layer

    def mixture(c_in: int, c_out: int, kernel_size: int, **arguments: Any) -> nn.Module:
        gate = _pre_gate(c_in) if pregate else None
        make = partial(expert, c_in, kernel_size, arguments)
        return MixtureOfExperts(
            c_in, expert=make, num_experts=num_experts, k=k, noisy=noisy_gating, pre_gate=gate
        )

    sizes = [options.pop(name) for name in SIZES]
    dropout, reduction = options.pop("dropout"), options.pop("dim_reduction")
    norm_kwargs = options.pop("norm_kwargs", {})
    norm = norm_of(options.pop("norm_layer"), norm_kwargs, options["groups"])
    least = options.pop("min_internal")
    basis = create_basis("gram", degree=degree, scale="none")
    layer = Bottleneck(
        *sizes, ndim=ndim, basis=basis, layer=mixture, reduction=reduction, min_inner=least,
        norm=norm, **options,
    )  # fmt: skip
    init_mixture_in_bottleneck_(layer)
    return WithPenalty(layer)


def _pre_gate(channels: int) -> nn.Module:
    sizes = {"in_channels": channels, "out_channels": channels}
    return build_linear("KAGN", ("in_channels", "out_channels"), **sizes, degree=3)


def build_attention(
    conv: Row,
    ndim: int,
    *,
    input_dim: int,
    inner_projection: int | None,
    norm_layer: Any,
    norm_kwargs: Mapping[str, Any] | None = None,
    rope_theta: float | None = None,
    rope_mixed: bool = True,
    legacy: bool = False,
    **options: Any,
) -> nn.Module:
    """Attention whose projections are published convolutions; with rope_theta, rotary."""
    kwargs = dict(norm_kwargs or {})
    own = {"affine": kwargs.get("affine", True)}  # the others act on the projections alone
    if norm_layer is None and ndim == 2:
        norm_layer, kwargs, own = layer_norm(own["affine"]), {}, {}
    norm_layer = norm_layer or BATCH[ndim - 1]

    def layer(c_in: int, c_out: int) -> nn.Module:
        return _build(conv, c_in, c_out, norm_layer=norm_layer, norm_kwargs=kwargs, **options)

    rope: dict[str, Any] = {}
    if rope_theta is not None:
        mode = "mixed" if rope_mixed else "axial"
        rope = {"rope": mode, "rope_theta": rope_theta, "rope_legacy": legacy}
    norm = norm_of(norm_layer, own, 1)
    return SelfAttention(
        input_dim, layer=layer, ndim=ndim, inner=inner_projection, norm=norm, **rope
    )


def build_focal(
    conv: Row,
    depthwise: Row,
    ndim: int,
    *,
    input_dim: int,
    legacy: bool,
    degree: int,
    dropout: float,
    norm_layer: Any,
    norm_kwargs: Mapping[str, Any] | None = None,
    **options: Any,
) -> nn.Module:
    """Focal modulation: published convolutions, and depthwise ones of KAGN version 2."""
    kwargs = dict(norm_kwargs or {})
    shared = {"degree": degree, "dropout": dropout, "norm_layer": norm_layer, "norm_kwargs": kwargs}

    def layer(c_in: int, c_out: int, kernel_size: int, *, ndim: int, **grouped: Any) -> nn.Module:
        kernel = {"kernel_size": kernel_size, **shared}
        if grouped:
            return _build(depthwise, c_in, c_out, legacy=legacy, **kernel, **grouped)
        return _build(conv, c_in, c_out, **kernel)

    return FocalModulation(
        input_dim,
        layer=layer,
        ndim=ndim,
        window=options["focal_window"],
        levels=options["focal_level"],
        factor=options["focal_factor"],
        normalize=options["normalize_modulator"],
        full=options["full_kan"],
        norm=norm_of(norm_layer, kwargs, 1) if options["use_postln_in_modulation"] else None,
    )


def _build(row: Row, c_in: int, c_out: int, **options: Any) -> nn.Module:
    """The layer of a row, its other arguments at their defaults."""
    defaults = {**row.parameters, **row.keywords}
    sizes = {"input_dim": c_in, "output_dim": c_out}
    return row.build(**{**defaults, **sizes, **options})


def form_rows(convs: Rows) -> list[Row]:
    """All forms in one to three dimensions, made of the convolutions in `convs`."""
    makers: Sequence[Callable[[Rows, int], list[Row]]] = (_mixtures, _attentions, _focal)
    return [row for ndim in (1, 2, 3) for maker in makers for row in maker(convs, ndim)]


def _mixtures(convs: Rows, ndim: int) -> list[Row]:
    own = {"input_size": REQUIRED, "output_size": REQUIRED, "num_experts": 16}
    own |= {"noisy_gating": True, "k": 4, "kernel_size": 3, "stride": 1, "padding": 1}
    rows = []
    for name, acronym in _EXPERTS.items():
        expert = convs[f"{acronym}Conv{ndim}DLayer"]
        others = {**expert.parameters, **expert.keywords}
        others = {key: value for key, value in others.items() if key not in {**SIZES, **own}}
        build = partial(build_mixture, expert)
        rows.append(Row(f"MoE{name}Conv{ndim}DLayer", own, build, others, True))
    tail = {"num_experts": 8 if ndim == 2 else 16, "noisy_gating": True, "k": 2 if ndim == 2 else 4}
    reduction = {"dim_reduction": 4}
    parameters = {**SIZES, **DEGREE, **GEOMETRY, "dropout": 0.0, "norm_layer": INSTANCE[ndim - 1]}
    parameters |= {**reduction, **tail} if ndim == 3 else {**tail, **reduction}
    bottleneck = Row(
        f"MoEBottleNeckKAGNConv{ndim}DLayer",
        {**parameters, "pregate": False},
        partial(build_mixture_in_bottleneck, ndim),
        {"min_internal": 16},
        True,
    )
    return [*rows, bottleneck]


def _attentions(convs: Rows, ndim: int) -> list[Row]:
    start = {"input_dim": REQUIRED, "inner_projection": None, "kernel_size": 3}
    norm = {"norm_layer": BATCH[ndim - 1]}
    rope = {"rope_theta": 10.0, "rope_mixed": True}
    rows = []
    for prefix, acronym, own, extra in (
        ("Self", "KAGN", DEGREE, {}),
        ("BottleNeckSelf", "KAGN", DEGREE, {}),
        ("RoPEBottleNeckSelf", "KAGN", DEGREE, rope),
        ("Self", "ReLUKAN", _PHASES, {}),
        ("BottleNeckSelf", "ReLUKAN", _PHASES, {}),
    ):
        squeezed = "BottleNeck" if "BottleNeck" in prefix else ""
        conv = convs[f"{squeezed}{acronym}Conv{ndim}DLayer"]
        keywords = {**(INNER if squeezed else {}), **(_LEGACY if extra else {})}
        rows.append(
            Row(
                f"{prefix}{acronym}tention{ndim}D",
                {**start, **own, **GEOMETRY, "dropout": 0.0, **extra, **norm},
                partial(build_attention, conv, ndim),
                keywords,
                True,
                _ROPE_NOTE if extra else "",
            )
        )
    return rows


def _focal(convs: Rows, ndim: int) -> list[Row]:
    parameters = {"input_dim": REQUIRED, "focal_window": 3, "focal_level": 2, "focal_factor": 2}
    parameters |= {"use_postln_in_modulation": True, "normalize_modulator": True}
    parameters |= {"full_kan": True, **DEGREE, "dropout": 0.0, "norm_layer": BATCH[ndim - 1]}
    depthwise = convs[f"KAGNConv{ndim}DLayerV2"]
    return [
        Row(
            f"{prefix}KAGNFocalModulation{ndim}D",
            parameters,
            partial(build_focal, convs[f"{prefix}KAGNConv{ndim}DLayer"], depthwise, ndim),
            _LEGACY,
            True,
            _FOCAL_NOTE,
        )
        for prefix in ("", "BottleNeck")
    ]
