"""U2-networks, whose stages are small U-networks, built from the rows of models.rows.u2net.

Source: Qin et al. (2020), "U^2-Net"; torch-conv-kan, U2KANet.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from conv_kan.interop.layouts import layouts_of
from conv_kan.interop.rules import Layout
from models.blocks import ConvBlock, check_groups
from models.kits import ConvKit, Kit, create_kit
from models.layouts import block_parts, published_u2net
from models.maps import DeepMapNet, Merge, SideOutputs, level_info, resize
from models.rows.u2net import POOLED, SIZES
from models.stems import MAX_POOLS


@dataclass(frozen=True)
class Plan:
    """A block: channels before, inside and behind it, its levels, and whether it has pools."""

    c_in: int
    inner: int
    c_out: int
    depth: int
    pooled: bool

    def layers(self) -> tuple[list[tuple[int, int, int]], list[tuple[int, int, int]]]:
        """(c_in, c_out, dilation) of the convolutions down, and of those up again.

        With pools the last one down has dilation 2; without, each has twice that of the one above.
        """
        last = self.depth - 1
        down, up = [], []
        for i in range(self.depth):
            dilation = (2 if i == last else 1) if self.pooled else 2**i
            down.append((self.inner if i else self.c_out, self.inner, dilation))
        for i in reversed(range(last)):
            up.append((2 * self.inner, self.inner if i else self.c_out, 1 if self.pooled else 2**i))
        return down, up


class NestedBlock(nn.Module):
    """y = first(x) + u_0, u_i = up_i([resize(u_{i+1}), h_i]), h_i = down_i(pool(h_{i-1})).

    h begins with first(x), and u with the last h. The first two maps have one size, and so have the
    last two; without pools all have.

    Shapes: x (B, c_in, *S) -> y (B, c_out, *S).
    """

    def __init__(
        self,
        first: nn.Module,
        down: list[nn.Module],
        up: list[nn.Module],
        pool: Callable[[Tensor], Tensor] | None,
    ) -> None:
        super().__init__()
        self.first, self.pool = first, pool
        self.down, self.up = nn.ModuleList(down), nn.ModuleList(up)

    def forward(self, x: Tensor) -> Tensor:
        start: Tensor = self.first(x)
        h, skips = start, []
        for i, layer in enumerate(self.down):
            if self.pool is not None and 0 < i < len(self.down) - 1:
                h = self.pool(h)
            h = layer(h)
            skips.append(h)
        u = skips.pop()
        for layer in self.up:
            skip = skips.pop()
            u = layer(torch.cat([resize(u, skip, corners=True), skip], dim=1))
        return u + start


def build_u2net(
    *, kind: str | None, num_classes: int, input_channels: int, **options: Any
) -> DeepMapNet:
    """Six stages of nested blocks with a pool before each but the first, five back again; every map
    on the way back, and the smallest one, gives logits.

    The first convolution has one group, no dropout and no experts.

    Raises: ValueError for groups that do not divide the channels.
    """
    kit = create_kit(kind, options)
    if isinstance(kit, ConvKit):
        kit = replace(kit, activation=nn.GELU)
    down, up = _plans(input_channels, options)
    pool = partial(MAX_POOLS[kit.ndim - 1], 2, stride=2, ceil_mode=True)
    build = partial(_block, kit, pool, options)
    first = kit.conv(input_channels, down[0].c_out, options["stem_kernel"])
    encoder = [nn.Sequential(build(down[0], first))]
    encoder += [nn.Sequential(pool(), build(plan)) for plan in down[1:]]
    decoder = [Merge(build(plan), corners=False) for plan in up]
    sides = [*(plan.c_out for plan in reversed(up)), down[-1].c_out]
    smallest = max(2 ** (i + max(p.depth - 2, 0) * p.pooled) for i, p in enumerate(down))
    return DeepMapNet(
        encoder,
        decoder,
        partial(SideOutputs, sides, ndim=kit.ndim),
        deep_supervision=options["deep_supervision"],
        num_classes=num_classes,
        num_features=up[-1].c_out,
        ndim=kit.ndim,
        # Pools round up: any image leaves one pixel, but an instance norm needs two.
        min_size=smallest + 1 if kit.norm == "instance" else 1,
        size_divisor=smallest,
        feature_info=level_info([plan.c_out for plan in down], [2**i for i in range(len(down))]),
        published=published_u2net(kind, options),
    )


def _plans(input_channels: int, options: Mapping[str, Any]) -> tuple[list[Plan], list[Plan]]:
    """The blocks of the stages, and of those on the way back, from the smallest map."""

    def scaled(channels: int) -> int:
        return max(1, round(channels * options["width_scale"]))

    below, back = SIZES[options["size"]]
    depths, channels, down = options["depths"], input_channels, []
    for i, (inner, c_out) in enumerate(below):
        pooled = i < POOLED
        down.append(Plan(channels, scaled(inner), scaled(c_out), depths[i], pooled))
        channels = down[-1].c_out
    up = []
    for beside, (inner, c_out) in zip(reversed(down[:-1]), back, strict=True):
        joined = channels + beside.c_out
        up.append(Plan(joined, scaled(inner), scaled(c_out), beside.depth, beside.pooled))
        channels = up[-1].c_out
    layers = [(p.c_in, p.c_out) for p in (*down[1:], *up)]
    layers += [pair[:2] for p in (*down, *up) for part in p.layers() for pair in part]
    check_groups(options["groups"], layers)
    return down, up


def _block(
    kit: Kit,
    pool: Callable[[], nn.Module],
    options: Mapping[str, Any],
    plan: Plan,
    first: nn.Module | None = None,
) -> NestedBlock:
    """The block of a plan; `first` if its first layer is made already."""
    common = {"groups": options["groups"], "dropout": options["dropout"], "mixes": True}
    if first is None:
        first = kit.conv(plan.c_in, plan.c_out, **common)
    below, back = (
        [kit.conv(a, b, dilation=dilation, **common) for a, b, dilation in part]
        for part in plan.layers()
    )
    return NestedBlock(first, below, back, pool() if plan.pooled else None)


@layouts_of.register
def _published_block(block: NestedBlock, keys: Collection[str]) -> list[Layout]:
    """Published plain convolutions stand in a row with what precedes and follows them.

    A dropout precedes all of them there, or none; here the first of the network has none.
    """
    paths = {"first": "input_conv"}
    for own, other in (("down", "encoder_list"), ("up", "decoder_list")):
        paths |= {f"{own}.{i}": f"{other}.{i}" for i in range(len(getattr(block, own)))}
    if isinstance(block.first, ConvBlock):
        start = 1 if hasattr(block.down[0], "dropout") else 0
        rows = [(path, f"{other}.{start}", f"{other}.{start + 1}") for path, other in paths.items()]
        paths = {own: other for row in rows for own, other in block_parts(*row).items()}
    own_paths = {name: name for name, _ in block.named_children()}
    return [Layout("U2KANet", children=paths), Layout("own", children=own_paths)]
