"""VGG networks of KAN convolutions, and their plain twin.

Published default -> default here, where they differ: norm instance -> the family's ("batch"),
affine False -> True, feature_shape (7, 7) -> (1, 1), scale none -> unit. The published ones were
chosen for images of 224x224; at 32x32 an instance norm sees maps of 2x2 or less, and a 7x7 average
of those repeats every feature 49 times. Published networks are reached by options, for example
`norm="instance", affine=False, feature_shape=(7, 7), scale="none"` for vggkagn; fast_vggkan also
had grid_size=5, grid_range=(-1, 1), base="gelu".

Source: Simonyan and Zisserman 2015 (the sizes, here an eighth or quarter of the channels);
torch-conv-kan (the tables v2 to v4sa, the heads).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn

from models.blocks import ConvNet, check_groups, check_pooled_norm
from models.heads import HEADS, LINEAR_HEADS, build_head
from models.kinds import basis_of
from models.kits import KANKit, Kit, create_kit, kit_options
from models.options import Option
from models.registry import register

_BASE = {
    "VGG11": "16 M 32 M 64 64 M 128 128 M 128 128",
    "VGG13": "16 16 M 32 32 M 64 64 M 128 128 M 128 128",
    "VGG16": "16 16 M 32 32 M 64 64 64 M 128 128 128 M 128 128 128",
    "VGG19": "16 16 M 32 32 M 64 64 64 64 M 128 128 128 128 M 128 128 128 128",
}
_ENDINGS = {"": "", "v2": " M 128 128", "v3": " M 128 256", "v4": " M 256 256"}
# Which pools, counted from 0, have a self-attention before them.
_ATTENTION = {"sa": ("", (2, 3)), "v4sa": ("v4", (3, 4))}

ROWS: dict[str, str | None] = {
    "vgg": None,
    "vggkan": "bspline",
    "fast_vggkan": "rbf",
    "vggkaln": "legendre",
    "vggkacn": "chebyshev",
    "vggkagn": "gram",
    "vggkajn": "jacobi",
    "vggkabn": "bernstein",
    "vggrelukan": "relu",
    "vgg_wav_kan": "wavelet",
    "vggkagn_bn": "gram_bottleneck",
    "moe_vggkagn_bn": "gram_bottleneck_experts",
}


def _size_tables() -> dict[str, tuple[str, ...]]:
    """Tokens of every vgg_type: channels of a convolution, M (pool), SA (self-attention)."""
    tables = {}
    for name, base in _BASE.items():
        for suffix, ending in _ENDINGS.items():
            tables[name + suffix] = tuple((base + ending).split())
        for suffix, (variant, pools) in _ATTENTION.items():
            tables[name + suffix] = _with_attention(tables[name + variant], pools)
    return tables


def _with_attention(tokens: Sequence[str], pools: Sequence[int]) -> tuple[str, ...]:
    result: list[str] = []
    for token in tokens:
        if token == "M" and result.count("M") in pools:
            result.append("SA")
        result.append(token)
    return tuple(result)


VGG_TYPES = _size_tables()


@dataclass(frozen=True)
class Step:
    """One entry of the features: kind "conv", "attention" or "pool", and its channels."""

    kind: str
    c_in: int
    c_out: int


def plan_vgg(
    vgg_type: str, input_channels: int, width_scale: float, last_attention: bool
) -> list[Step]:
    """List the steps of a size table; last_attention puts attention in the last conv's place."""
    steps, channels = [], input_channels
    for token in VGG_TYPES[vgg_type]:
        if token == "M":
            steps.append(Step("pool", channels, channels))
        elif token == "SA":
            steps.append(Step("attention", channels, channels))
        else:
            width = max(1, round(int(token) * width_scale))
            steps.append(Step("conv", channels, width))
            channels = width
    if last_attention:
        channels = steps[-1].c_in
        steps[-1] = Step("attention", channels, channels)
    return steps


def build_vgg(kind: str | None, num_classes: int, input_channels: int, **options: Any) -> ConvNet:
    """features (size table) -> average to feature_shape -> flatten -> head.

    The first convolution has one group and no dropout, as published.

    Raises: ValueError for groups that do not divide the channels, for sa_inner_projection without
        attention, for a head that the kind cannot build and for a norm that leaves the same
        features for every image.
    """
    steps = plan_vgg(
        options["vgg_type"], input_channels, options["width_scale"], options["last_attention"]
    )
    inner = _inner_channels(steps, options["sa_inner_projection"])
    grouped = [(s.c_in, s.c_out) for s in steps[1:] if s.kind == "conv"]
    check_groups(options["groups"], grouped + [(width, width) for width in inner.values()])
    kit, shape = create_kit(kind, options), options["feature_shape"]
    # An attention ends in its norm, whatever the kind.
    ends_in_norm = kit.ends_in_norm or steps[-1].kind == "attention"
    check_pooled_norm(kit.norm, ends_in_norm, shape)
    features = nn.Sequential()
    for i, step in enumerate(steps):
        later = {"groups": options["groups"], "dropout": options["dropout"]} if i else None
        features.append(_build_step(kit, step, inner, options["sa_inner_projection"], later))
    head = build_head(
        options["head"],
        steps[-1].c_out * math.prod(shape),
        num_classes,
        dropout=options["dropout_linear"],
        mlp=kit.mlp if isinstance(kit, KANKit) else None,
    )
    # An instance norm needs two pixels or more.
    smallest = (2 if kit.norm == "instance" else 1) * 2 ** sum(s.kind == "pool" for s in steps)
    return ConvNet(features, head, feature_shape=shape, min_size=smallest)


def _build_step(
    kit: Kit,
    step: Step,
    inner: dict[int, int],
    projection: int | None,
    later: dict[str, Any] | None,
) -> nn.Module:
    """One step; `later` holds the arguments of all but the first."""
    if step.kind == "pool":
        return nn.MaxPool2d(2)
    if later is None:
        return kit.first_conv(step.c_in, step.c_out)
    if step.kind == "conv":
        return kit.conv(step.c_in, step.c_out, **later)
    width = None if projection is None else inner[step.c_in]
    return kit.attention(step.c_in, inner=width, groups=later["groups"])


def _inner_channels(steps: Sequence[Step], projection: int | None) -> dict[int, int]:
    """Channels of every attention step -> channels it works on, C // projection."""
    channels = [step.c_in for step in steps if step.kind == "attention"]
    if projection is not None and not channels:
        raise ValueError(
            f"sa_inner_projection={projection} has no effect without attention; choose a vgg_type "
            "that ends in sa, or last_attention=true"
        )
    inner = {c: c if projection is None else c // projection for c in channels}
    if not all(inner.values()):
        raise ValueError(
            f"sa_inner_projection={projection} leaves no channels of {min(channels)}; use "
            f"{min(channels)} or less"
        )
    return inner


def vgg_options(kind: str | None) -> tuple[Option, ...]:
    """The options of one row."""
    heads = LINEAR_HEADS if kind is None else HEADS
    return (
        Option("vgg_type", str, "VGG11", "size table", choices=tuple(VGG_TYPES)),
        Option("width_scale", float, 1.0, "factor on the channels of the table", minimum=0.01),
        Option("head", str, "linear", "classifier", choices=heads),
        Option("feature_shape", tuple[int, int], (1, 1), "of the averaged maps", minimum=1),
        Option("groups", int, 1, "groups of every convolution but the first", minimum=1),
        Option("dropout", float, 0.0, "of channels, in every layer but the first", 0, 1),
        Option("dropout_linear", float, 0.25, "of features, in the head", 0, 1),
        Option("last_attention", bool, False, "attention in place of the last convolution"),
        Option(
            "sa_inner_projection", int | None, None, "attention on C // this channels", minimum=1
        ),
        *kit_options(kind),
    )


for _name, _kind in ROWS.items():
    register(_name, options=vgg_options(_kind), basis=basis_of(_kind))(partial(build_vgg, _kind))
