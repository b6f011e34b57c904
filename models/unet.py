"""U-networks, built from the rows of models.rows.unet.

Source: Ronneberger et al. (2015), "U-Net"; torch-conv-kan, UKANet and UKAGNet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import accumulate, chain, pairwise
from operator import mul
from typing import Any

from torch import nn

from models.blocks import CONVS, check_groups
from models.depthwise import depthwise_kit, focal_modulation
from models.kits import Kit, create_kit
from models.layouts import published_residual_unet, published_unet
from models.maps import MapNet, Merge, level_info
from models.residual import (
    PLANES,
    STRIDES,
    Block,
    ResidualBlock,
    build_block,
    plan_stage,
    plan_stages,
    scaled,
)
from models.rows.reskanet import DEPTHS
from models.rows.unet import FOCAL, LATER_BLOCKS
from models.stems import with_pointwise_reduction

_STEM = 8
_WIDTH = 16


# ------------------------------------------------------------------------------ of residual blocks
def build_residual_unet(
    *, kind: str | None, num_classes: int, input_channels: int, **options: Any
) -> MapNet:
    """A convolution, four stages of residual blocks; a fifth at the size of the last; back again:
    the map below in twice the size joins that of a stage in a convolution, blocks follow.

    Stem and merges have, where layers are bottlenecks, the reduction of pointwise layers, as
    published. The stem has one group, no dropout and no experts.

    Raises: ValueError for groups that do not divide the channels, for a base_width without effect,
        and for legacy=true where no network has been published.
    """
    kit = create_kit(kind, options)
    ends = with_pointwise_reduction(kit)  # type: ignore[arg-type]
    down, up = _plan_residual(options)
    widths = [stage[-1].ends.c_out for stage in down]
    build = partial(_residual_stage, kit, _later_kit(kind, options), options)
    encoder = [nn.Sequential(*build(stage)) for stage in down]
    encoder[0].insert(0, ends.conv(input_channels, scaled(_STEM, options)))
    encoder[-1].extend(build(up[-1]))
    merging = {"groups": options["groups"], "dropout": options["dropout"], "mixes": True}
    decoder = [
        Merge(ends.conv(low + width, width, **merging), *build(stage), corners=True)
        for (width, low), stage in zip(
            reversed([*pairwise(widths)]), reversed(up[:-1]), strict=True
        )
    ]
    return _map_net(
        kit,
        (encoder, decoder),
        widths,
        STRIDES,
        num_classes=num_classes,
        published=published_residual_unet(kind, [len(stage) for stage in down], options),
    )


def _plan_residual(options: Mapping[str, Any]) -> tuple[list[list[Block]], list[list[Block]]]:
    """The stages down, and those of the same channels on the way back, in the same order."""
    down = plan_stages({**options, "stem_width": _STEM})
    widths = [stage[-1].ends.c_out for stage in down]
    block = DEPTHS[options["depth"]][0]
    up = [
        plan_stage(block, width, scaled(planes, options), len(stage), 1, options)
        for width, planes, stage in zip(widths, PLANES, down, strict=True)
    ]
    convs = [conv for one in chain(*down, *up) for conv in one.convs if conv.kernel == 3]
    merges = [(low + width, width) for width, low in pairwise(widths)]
    check_groups(options["groups"], [*((c.c_in, c.c_out) for c in convs), *merges])
    return down, up


def _residual_stage(
    kit: Kit, later: Kit, options: Mapping[str, Any], stage: Sequence[Block]
) -> list[ResidualBlock]:
    """The blocks of a stage; those behind the first drop nothing with published weights."""
    rest = {**options, "dropout": 0.0} if options.get("legacy") else options
    return [
        build_block(kit, kit, options, stage[0]),
        *(build_block(later, later, rest, block) for block in stage[1:]),
    ]


def _later_kit(kind: str | None, options: Mapping[str, Any]) -> Kit:
    """That of all blocks but the first of a stage."""
    if not options.get("legacy"):
        return create_kit(kind, options)
    form = options["form"]
    if (kind, form) not in LATER_BLOCKS:
        raise ValueError(
            f"legacy=true is for weights of published networks, and there is none of form={form}; "
            "leave it out"
        )
    return create_kit(kind, {**options, **LATER_BLOCKS[kind, form]})


# -------------------------------------------------------------------------- of plain convolutions
def build_unet(
    *, kind: str | None, num_classes: int, input_channels: int, **options: Any
) -> MapNet:
    """Levels of `layers` convolutions, each but the first beginning with stride 2, and back again:
    two maps are joined, mixed and go through as many convolutions.

    The first convolution has one group, no dropout and no experts.

    Raises: ValueError for groups that do not divide the channels, and for options of a mixer that
        is not chosen.
    """
    widths = [scaled(_WIDTH * 2**level, options) for level in range(options["depth"])]
    joined = [low + width for width, low in pairwise(widths)]
    pairs = [*pairwise(widths), *((width, width) for width in widths)]
    check_groups(options["groups"], [*pairs, *zip(joined, widths, strict=False)])
    kit = create_kit(kind, options)
    common = {"groups": options["groups"], "dropout": options["dropout"], "mixes": True}

    def convs(c_in: int, c_out: int, stride: int = 1) -> list[nn.Module]:
        first = kit.conv(c_in, c_out, stride=stride, **common)
        return [first, *_repeat(kit, c_out, options["layers"] - 1, common)]

    mixers = [_mixer(kind, kit, channels, options) for channels in joined]
    encoder = [
        nn.Sequential(
            kit.conv(input_channels, widths[0]),
            *_repeat(kit, widths[0], options["layers"] - 1, common),
        ),
        *(nn.Sequential(*convs(a, b, 2)) for a, b in pairwise(widths)),
    ]
    decoder = [
        Merge(*mixer, *convs(channels, width), corners=True)
        for mixer, channels, width in zip(
            reversed(mixers), reversed(joined), reversed(widths[:-1]), strict=True
        )
    ]
    return _map_net(
        kit,
        (encoder, decoder),
        widths,
        (1, *[2] * (len(widths) - 1)),
        num_classes=num_classes,
        published=published_unet(kind, options),
    )


def _repeat(kit: Kit, width: int, count: int, common: Mapping[str, Any]) -> list[nn.Module]:
    return [kit.conv(width, width, **common) for _ in range(count)]


def _mixer(
    kind: str | None, kit: Kit, channels: int, options: Mapping[str, Any]
) -> list[nn.Module]:
    """What mixes the positions of joined maps, if anything does."""
    mixer, dropout = options["mixer"], options["dropout"]
    given = {"attention_channels": "attention", **dict.fromkeys(FOCAL, "focal")}
    for name, owner in given.items():
        if options[name] is not None and owner != mixer:
            raise ValueError(
                f"{name}={options[name]!r} has no effect with mixer={mixer}; leave it out, or type "
                f"mixer={owner}"
            )
    if mixer == "none":
        return []
    if mixer == "attention":
        inner = options["attention_channels"]
        return [kit.attention(channels, inner=inner, groups=options["groups"], dropout=dropout)]
    chosen = {
        name.removeprefix("focal_"): default if options[name] is None else options[name]
        for name, default in FOCAL.items()
    }
    depthwise = depthwise_kit(kind, options, options.get("legacy", False))
    has_norm, levels = chosen.pop("norm"), chosen.pop("level")
    return [
        focal_modulation(
            kit, depthwise, channels, dropout=dropout, has_norm=has_norm, levels=levels, **chosen
        )
    ]


# --------------------------------------------------------------------------------------- of both
def _map_net(
    kit: Kit,
    parts: tuple[list[nn.Sequential], list[Merge]],
    widths: list[int],
    strides: tuple[int, ...],
    **network: Any,
) -> MapNet:
    """The network of an encoder and a decoder, which ends in a 1x1 convolution."""
    reductions = [*accumulate(strides, mul)]
    return MapNet(
        *parts,
        partial(CONVS[kit.ndim - 1], widths[0], kernel_size=1),
        num_features=widths[0],
        ndim=kit.ndim,
        # Strides round up: any image leaves one pixel, but an instance norm needs two.
        min_size=reductions[-1] + 1 if kit.norm == "instance" else 1,
        size_divisor=reductions[-1],
        feature_info=level_info(widths, reductions),
        **network,
    )
