"""VGG networks, built from the rows of models.rows.vggkan.

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

from models.blocks import ConvNet, check_groups, pooled_norm_problem
from models.heads import build_head, head_layers
from models.kits import KANKit, Kit, create_kit
from models.layouts import published_vgg
from models.rows.vggkan import VGG_TYPES

_POOLS = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)


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


def build_vgg(
    *, kind: str | None, num_classes: int, input_channels: int, **options: Any
) -> ConvNet:
    """features (size table) -> average to feature_shape -> flatten -> head.

    The first convolution has one group, no dropout and no experts, as published.

    Raises: ValueError for groups that do not divide the channels, for sa_inner_projection without
        attention, for a head that the kind cannot build and for a head_activation without such a
        head. Training is refused with a norm that leaves the same features for every image.
    """
    steps = plan_vgg(
        options["vgg_type"], input_channels, options["width_scale"], options["last_attention"]
    )
    inner = _inner_channels(steps, options["sa_inner_projection"])
    grouped = [(s.c_in, s.c_out) for s in steps[1:] if s.kind == "conv"]
    check_groups(options["groups"], grouped + [(width, width) for width in inner.values()])
    kit = create_kit(kind, options)
    shape = _feature_shape(options["feature_shape"], kit.ndim)
    # An attention ends in its norm, whatever the kind.
    ends_in_norm = kit.ends_in_norm or steps[-1].kind == "attention"
    problem = pooled_norm_problem(kit.norm, ends_in_norm, shape)
    later = {"groups": options["groups"], "dropout": options["dropout"], "mixes": True}
    features = nn.Sequential(kit.conv(steps[0].c_in, steps[0].c_out))
    for step in steps[1:]:
        features.append(_build_step(kit, step, inner, options["sa_inner_projection"], later))
    num_features = steps[-1].c_out * math.prod(shape)
    mlp = kit.mlp if isinstance(kit, KANKit) else None
    make_head = partial(
        build_head,
        options["head"],
        num_features,
        dropout=options["dropout_linear"],
        mlp=head_layers(kind, options["head"], mlp, options),
    )
    # An instance norm needs two pixels or more.
    smallest = (2 if kit.norm == "instance" else 1) * 2 ** sum(s.kind == "pool" for s in steps)
    return ConvNet(
        features,
        make_head,
        num_classes=num_classes,
        num_features=num_features,
        feature_shape=shape,
        min_size=smallest,
        feature_info=_feature_info(steps),
        published=published_vgg(kind, options),
        training_problem=problem,
    )


def _feature_shape(shape: Sequence[int], ndim: int) -> tuple[int, ...]:
    """A size for every axis; (1, 1) stands for ones."""
    if set(shape) == {1}:
        return (1,) * ndim
    if len(shape) != ndim:
        raise ValueError(
            f"feature_shape={tuple(shape)} must have one size for each of the {ndim} dimensions"
        )
    return tuple(shape)


def _feature_info(steps: Sequence[Step]) -> list[dict[str, Any]]:
    """The last map of every size: before each pool, and at the end."""
    info, reduction = [], 1
    for i, step in enumerate(steps):
        last = i == len(steps) - 1
        if step.kind != "pool" and (last or steps[i + 1].kind == "pool"):
            info.append({"num_chs": step.c_out, "reduction": reduction, "module": f"features.{i}"})
        reduction *= 2 if step.kind == "pool" else 1
    return info


def _build_step(
    kit: Kit,
    step: Step,
    inner: dict[int, int],
    projection: int | None,
    arguments: dict[str, Any],
) -> nn.Module:
    """One step after the first."""
    if step.kind == "pool":
        return _POOLS[kit.ndim - 1](2)
    if step.kind == "conv":
        return kit.conv(step.c_in, step.c_out, **arguments)
    width = None if projection is None else inner[step.c_in]
    return kit.attention(step.c_in, inner=width, groups=arguments["groups"])


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
