"""U-KAN, built from the rows of models.rows.ukan.

Source: Li et al. (2024), "U-KAN Makes Strong Backbone for Medical Image Segmentation and
Generation" (arXiv 2406.02918), and its code.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from timm.layers import DropPath
from torch import Tensor, nn

from conv_kan.interop.layouts import layouts_of
from conv_kan.interop.rules import Layout
from conv_kan.ops.maths.norms import ChannelLayerNorm
from models.blocks import CONVS
from models.forms import chosen_mlp
from models.kits import create_kit
from models.layouts import block_parts, published_ukan
from models.maps import MapNet, level_info, resize
from models.stems import MAX_POOLS

_DIVISOR = 32
_LINEARS = 3  # of a block

# Makes the linear layer between these numbers of channels.
Linear = Callable[[int, int], nn.Module]


class TokenBlock(nn.Module):
    """y = x + drop_path(f(norm(x))), f = relu . batch norm . depthwise 3x3 . linear, three times.

    Shapes: x, y (B, C, *S); `linear` maps channels at every position.
    """

    def __init__(self, channels: int, *, linear: Linear, ndim: int, drop_path: float) -> None:
        super().__init__()
        conv = create_kit(None, {"ndim": ndim, "norm": "batch", "affine": True}).conv
        self.norm = ChannelLayerNorm(channels)
        self.linears = nn.ModuleList(linear(channels, channels) for _ in range(_LINEARS))
        self.convs = nn.ModuleList(
            conv(channels, channels, groups=channels) for _ in range(_LINEARS)
        )
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x)
        for linear, conv in zip(self.linears, self.convs, strict=True):
            tokens = h.movedim(1, -1)
            mixed = linear(tokens.reshape(-1, tokens.shape[-1]))
            h = conv(mixed.view(tokens.shape).movedim(-1, 1).contiguous())
        y: Tensor = x + self.drop_path(h)
        return y


class Widen(nn.Module):
    """y = after(relu(resize(convs(below))) + skip); without `adds`, skip only says the size.

    Shapes: below (B, c_in, *s), skip (B, c_out, *S) -> y (B, c_out, *S).
    """

    def __init__(self, convs: nn.Module, after: nn.Module, adds: bool) -> None:
        super().__init__()
        self.convs, self.after, self.adds = convs, after, adds

    def forward(self, below: Tensor, skip: Tensor) -> Tensor:
        y = torch.relu(resize(self.convs(below), skip, corners=False))
        y = self.after(y + skip if self.adds else y)
        return y


class _Levels:
    """Makes the levels of a network. Paths are dropped more in the second `half` of the blocks."""

    def __init__(self, kind: str | None, options: Mapping[str, Any]) -> None:
        self.ndim, self.blocks = options["ndim"], options["blocks"]
        self.linear = _linear(kind, options)
        self.conv = create_kit(None, {"ndim": self.ndim, "norm": "batch", "affine": True}).conv
        most, count = options["drop_path"], 2 * self.blocks
        self.paths = [most * i / (count - 1) for i in range(count)]

    def convs(self, c_in: int, c_out: int) -> nn.Sequential:
        """Two convolutions, and half the size."""
        pool = MAX_POOLS[self.ndim - 1](2, ceil_mode=True)
        return nn.Sequential(self.conv(c_in, c_out), self.conv(c_out, c_out), pool)

    def embed(self, c_in: int, c_out: int, half: int) -> nn.Sequential:
        """Tokens of half the size."""
        patches = CONVS[self.ndim - 1](c_in, c_out, 3, stride=2, padding=1)
        return nn.Sequential(patches, ChannelLayerNorm(c_out), *self.tokens(c_out, half))

    def tokens(self, channels: int, half: int) -> list[nn.Module]:
        blocks = [
            TokenBlock(channels, linear=self.linear, ndim=self.ndim, drop_path=path)
            for path in self.paths[half * self.blocks : (half + 1) * self.blocks]
        ]
        return [*blocks, ChannelLayerNorm(channels)]

    def widen(self, c_in: int, c_out: int, after: Iterable[nn.Module], adds: bool) -> Widen:
        convs = nn.Sequential(self.conv(c_in, c_in), self.conv(c_in, c_out))
        return Widen(convs, nn.Sequential(*after), adds)


def build_ukan(
    *, kind: str | None, num_classes: int, input_channels: int, **options: Any
) -> MapNet:
    """Three levels of two convolutions, a pool behind each; two of tokens, which are maps under a
    layer norm; and back: two convolutions, resized, plus the map beside, and again tokens or none.

    Raises: ValueError for options of layers that the kind does not have.
    """
    third, fourth, fifth = (max(8, round(c * options["width_scale"])) for c in options["channels"])
    levels, ndim = _Levels(kind, options), options["ndim"]
    widths = (third // 8, third // 4, third, fourth, fifth)
    encoder = [levels.convs(a, b) for a, b in pairwise((input_channels, *widths[:3]))]
    encoder += [levels.embed(third, fourth, 0), levels.embed(fourth, fifth, 1)]
    after = [levels.tokens(fourth, 0), levels.tokens(third, 1), [], [], []]
    back = pairwise((*reversed(widths), widths[0]))
    decoder = [
        levels.widen(a, b, then, adds=i < len(after) - 1)
        for i, ((a, b), then) in enumerate(zip(back, after, strict=True))
    ]
    return MapNet(
        encoder,
        decoder,
        partial(CONVS[ndim - 1], widths[0], kernel_size=1),
        num_classes=num_classes,
        num_features=widths[0],
        ndim=ndim,
        size_divisor=_DIVISOR,
        feature_info=level_info(widths, (2, 4, 8, 16, _DIVISOR)),
        published=published_ukan(kind, options),
    )


def _linear(kind: str | None, options: Mapping[str, Any]) -> Linear:
    """Makes the layers of a kind, or plain ones."""
    if kind is None:
        return nn.Linear
    given = {name: options[name] for name in ("degree", "grid_size", "spline_order")}
    mlp = chosen_mlp(kind, given)
    return lambda c_in, c_out: mlp([c_in, c_out])


@layouts_of.register
def _published_block(block: TokenBlock, keys: Collection[str]) -> list[Layout]:
    parts = {"norm": "norm2"}
    for i, linear in enumerate(block.linears):
        own = f"linears.{i}" if isinstance(linear, nn.Linear) else f"linears.{i}.layers.0"
        name = f"layer.dwconv_{i + 1}"
        parts |= {own: f"layer.fc{i + 1}"}
        parts |= block_parts(f"convs.{i}", f"{name}.dwconv", f"{name}.bn")
    own_paths = {name: name for name, _ in block.named_children()}
    return [Layout("U-KAN", children=parts), Layout("own", children=own_paths)]
