"""U-KAN, built from the rows of models.rows.ukan.

Source: Li et al. (2024), "U-KAN Makes Strong Backbone for Medical Image Segmentation and
Generation" (arXiv 2406.02918), and its code.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
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
from models.maps import MapNet, resize
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


def build_ukan(
    *, kind: str | None, num_classes: int, input_channels: int, **options: Any
) -> MapNet:
    """Three levels of two convolutions, a pool behind each; two of tokens, which are maps under a
    layer norm; and back: two convolutions, resized, plus the map beside, and again tokens or none.

    Raises: ValueError for options of layers that the kind does not have.
    """
    third, fourth, fifth = (max(8, round(c * options["width_scale"])) for c in options["channels"])
    ndim = options["ndim"]
    linear = _linear(kind, options)
    conv = create_kit(None, {"ndim": ndim, "norm": "batch", "affine": True}).conv
    pool = MAX_POOLS[ndim - 1]
    paths = torch.linspace(0.0, options["drop_path"], 2 * options["blocks"], device="cpu").tolist()
    halves = (paths[: options["blocks"]], paths[options["blocks"] :])

    def tokens(channels: int, half: int) -> list[nn.Module]:
        blocks = [
            TokenBlock(channels, linear=linear, ndim=ndim, drop_path=path) for path in halves[half]
        ]
        return [*blocks, ChannelLayerNorm(channels)]

    def embed(c_in: int, c_out: int, half: int) -> nn.Sequential:
        patches = CONVS[ndim - 1](c_in, c_out, 3, stride=2, padding=1)
        return nn.Sequential(patches, ChannelLayerNorm(c_out), *tokens(c_out, half))

    widths = (input_channels, third // 8, third // 4, third)
    encoder = [
        nn.Sequential(conv(a, b), conv(b, b), pool(2, ceil_mode=True)) for a, b in pairwise(widths)
    ]
    encoder += [embed(third, fourth, 0), embed(fourth, fifth, 1)]
    back = (fifth, fourth, third, third // 4, third // 8, third // 8)
    after = [nn.Sequential(*tokens(fourth, 0)), nn.Sequential(*tokens(third, 1))]
    after += [nn.Sequential() for _ in back[3:]]
    decoder = [
        Widen(nn.Sequential(conv(a, a), conv(a, b)), then, adds=i < len(after) - 1)
        for i, ((a, b), then) in enumerate(zip(pairwise(back), after, strict=True))
    ]
    found = (*widths[1:], fourth, fifth)
    return MapNet(
        encoder,
        decoder,
        partial(CONVS[ndim - 1], back[-1], kernel_size=1),
        num_classes=num_classes,
        num_features=back[-1],
        ndim=ndim,
        size_divisor=_DIVISOR,
        feature_info=[
            {"num_chs": width, "reduction": 2 ** (i + 1), "module": f"encoder.{i}"}
            for i, width in enumerate(found)
        ],
        published=published_ukan(kind, options),
    )


def _linear(kind: str | None, options: dict[str, Any]) -> Linear:
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
