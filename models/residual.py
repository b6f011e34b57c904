"""Residual blocks, and the stages of them that depths of residual networks mean.

Source: He et al. 2016 (stages, blocks of two and three); torch-conv-kan (an eighth of the channels,
blocks of a 3x3 and a 1x1 convolution, nothing behind the sum).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from models.kits import Kit
from models.rows.reskanet import DEPTHS

PLANES = (8, 16, 32, 64)
STRIDES = (1, 2, 2, 2)


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


def plan_stages(options: Mapping[str, Any]) -> list[list[Block]]:
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
    channels = scaled(options["stem_width"], options)
    stages = []
    for size, stride, length in zip(PLANES, STRIDES, options["blocks"] or lengths, strict=True):
        stages.append(plan_stage(kind, channels, scaled(size, options), length, stride, options))
        channels = stages[-1][-1].ends.c_out
    return stages


def plan_stage(
    kind: str, channels: int, planes: int, length: int, stride: int, options: Mapping[str, Any]
) -> list[Block]:
    """Blocks of two ("basic") or three convolutions from this many channels; the first strides."""
    stage = []
    for step in (stride, *[1] * (length - 1)):
        if kind == "basic":
            convs: tuple[Conv, ...] = (Conv(3, channels, planes, step), Conv(1, planes, planes))
        else:
            width = max(1, planes * (options["base_width"] or 64) // 64) * options["groups"]
            first, second = Conv(1, channels, width), Conv(3, width, width, step)
            convs = (first, second, Conv(1, width, 4 * planes))
        stage.append(Block(convs, step > 1 or channels != convs[-1].c_out))
        channels = convs[-1].c_out
    return stage


def scaled(channels: int, options: Mapping[str, Any]) -> int:
    """Channels times width_scale, at least one."""
    return max(1, round(channels * options["width_scale"]))


def build_block(
    kit: Kit, pointwise: Kit, options: Mapping[str, Any], block: Block
) -> ResidualBlock:
    """The block of a plan; `pointwise` makes its 1x1 convolutions."""
    dropout, grouped = options["dropout"], {"groups": options["groups"], "mixes": True}

    def build(conv: Conv) -> nn.Module:
        chosen, more = (kit, grouped) if conv.kernel == 3 else (pointwise, {})
        return chosen.conv(
            conv.c_in, conv.c_out, conv.kernel, stride=conv.stride, dropout=dropout, **more
        )

    downsample = build(block.ends) if block.projects else None
    return ResidualBlock([build(conv) for conv in block.convs], downsample)
