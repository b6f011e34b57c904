"""Residual networks, built from the rows of models.rows.reskanet.

Source: He et al. 2016 (stages, blocks of two and three); torch-conv-kan (an eighth of the channels,
blocks of a 3x3 and a 1x1 convolution, nothing behind the sum).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor, nn

from models.blocks import ConvNet, check_groups, pooled_norm_problem
from models.heads import build_head
from models.kinds import kind_options
from models.kits import ConvKit, KANKit, create_kit
from models.layouts import published_reskanet
from models.rows.reskanet import DEPTHS
from models.stems import build_stem, stem_reduction

_PLANES = (8, 16, 32, 64)
_STRIDES = (1, 2, 2, 2)


class ResidualBlock(nn.Module):
    """y = conv_n(... conv_1(x)) + downsample(x).

    Shapes: x (B, c_in, *S) -> y (B, c_out, *S_out) of all convolutions and of downsample.
    """

    def __init__(self, convs: Sequence[nn.Module], downsample: nn.Module | None) -> None:
        super().__init__()
        self.names = [f"conv{i}" for i in range(1, len(convs) + 1)]
        for name, conv in zip(self.names, convs, strict=True):
            self.add_module(name, conv)
        self.downsample = nn.Identity() if downsample is None else downsample

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for name in self.names:
            y = getattr(self, name)(y)
        return y + self.downsample(x)


@dataclass(frozen=True)
class Conv:
    """One convolution of a block; those of 3x3 have the stride and the groups, and may mix."""

    kernel: int
    c_in: int
    c_out: int
    stride: int = 1


@dataclass(frozen=True)
class Block:
    """One residual block: its convolutions, and whether its input needs one to be added."""

    convs: tuple[Conv, ...]
    projects: bool

    @property
    def ends(self) -> Conv:
        """The 1x1 convolution from its input to its output."""
        stride = max(conv.stride for conv in self.convs)
        return Conv(1, self.convs[0].c_in, self.convs[-1].c_out, stride)


def plan_reskanet(options: Mapping[str, Any]) -> list[list[Block]]:
    """List the blocks of every stage.

    Raises: ValueError for a base_width where no block has three convolutions.
    """
    kind, lengths = DEPTHS[options["depth"]]
    base_width = options["base_width"]
    if kind == "basic" and base_width is not None:
        raise ValueError(
            f"base_width={base_width} has no effect on the blocks of two convolutions of "
            f"depth={options['depth']}; leave it out, or use depth=50 or more"
        )
    channels = _scaled(options["stem_width"], options)
    stages = []
    for size, stride, length in zip(_PLANES, _STRIDES, options["blocks"] or lengths, strict=True):
        planes, stage = _scaled(size, options), []
        for i in range(length):
            step = stride if i == 0 else 1
            if kind == "basic":
                convs: tuple[Conv, ...] = (Conv(3, channels, planes, step), Conv(1, planes, planes))
            else:
                width = max(1, planes * (base_width or 64) // 64) * options["groups"]
                first, second = Conv(1, channels, width), Conv(3, width, width, step)
                convs = (first, second, Conv(1, width, 4 * planes))
            stage.append(Block(convs, step > 1 or channels != convs[-1].c_out))
            channels = convs[-1].c_out
        stages.append(stage)
    return stages


def build_reskanet(
    *, kind: str | None, num_classes: int, input_channels: int, **options: Any
) -> ConvNet:
    """stem -> four stages of residual blocks -> average over all positions -> linear.

    The stem has one group, no dropout and no experts; 1x1 convolutions have no experts either.

    Raises: ValueError for groups that do not divide the channels and for a base_width without
        effect. Training is refused with a norm that leaves the same features for every image.
    """
    stages = plan_reskanet(options)
    convs = [conv for stage in stages for block in stage for conv in block.convs]
    check_groups(options["groups"], [(c.c_in, c.c_out) for c in convs if c.kernel == 3])
    kit = create_kit(kind, options)
    make_block = partial(_build_block, kit, _pointwise_kit(kit, options), options)
    stem_width = _scaled(options["stem_width"], options)
    features = nn.Sequential(build_stem(kit, input_channels, stem_width, options))
    reduction = stem_reduction(options)
    stem = {"num_chs": stem_width, "reduction": options["stem_stride"], "module": "features.0.0"}
    info = [stem]
    for i, (stage, stride) in enumerate(zip(stages, _STRIDES, strict=True), start=1):
        features.append(nn.Sequential(*map(make_block, stage)))
        reduction *= stride
        channels = stage[-1].ends.c_out
        info.append({"num_chs": channels, "reduction": reduction, "module": f"features.{i}"})
    num_features = stages[-1][-1].ends.c_out
    shape = (1,) * kit.ndim
    return ConvNet(
        features,
        partial(build_head, "linear", num_features, dropout=options["dropout_linear"], mlp=None),
        num_classes=num_classes,
        num_features=num_features,
        feature_shape=shape,
        # Strides and pools round up: any image leaves one pixel, but an instance norm needs two.
        min_size=reduction + 1 if kit.norm == "instance" else 1,
        feature_info=info,
        published=published_reskanet(kind, options),
        # The last stage begins with a sum of two norms, and what follows adds norms.
        training_problem=pooled_norm_problem(kit.norm, kit.ends_in_norm, shape),
    )


def _scaled(channels: int, options: Mapping[str, Any]) -> int:
    return max(1, round(channels * options["width_scale"]))


def _build_block(
    kit: KANKit | ConvKit, pointwise: KANKit | ConvKit, options: Mapping[str, Any], block: Block
) -> ResidualBlock:
    dropout, grouped = options["dropout"], {"groups": options["groups"], "mixes": True}

    def build(conv: Conv) -> nn.Module:
        chosen, more = (kit, grouped) if conv.kernel == 3 else (pointwise, {})
        return chosen.conv(
            conv.c_in, conv.c_out, conv.kernel, stride=conv.stride, dropout=dropout, **more
        )

    downsample = build(block.ends) if block.projects else None
    return ResidualBlock([build(conv) for conv in block.convs], downsample)


def _pointwise_kit(kit: KANKit | ConvKit, options: Mapping[str, Any]) -> KANKit | ConvKit:
    """That of the 1x1 convolutions, which are another kind's in published mixtures of Gram."""
    if not options.get("legacy_pointwise"):
        return kit
    own = {option.name: option.default for option in kind_options("legendre")}
    shared = {name: options[name] for name in ("ndim", "degree", "affine", "scale", "backend")}
    return create_kit("legendre", {**own, **shared, "norm": "instance", "squash": "minmax"})
