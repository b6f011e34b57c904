"""KAConvNet, built from the rows of models.rows.kaconv.

Source: KAConvNet (Image and Vision Computing, 2026). Every convolution has a bias, also before a
norm, as published; there, its gradient is exactly 0.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any

import torch
from timm.layers import DropPath
from torch import Tensor, nn

from conv_kan.interop.layouts import layouts_of
from conv_kan.interop.rules import Layout
from conv_kan.layers import KAConv
from conv_kan.layers.norm import make_norm
from models.blocks import CONVS, ConvBlock, ConvNet
from models.forms import maker_of
from models.kinds import KINDS
from models.layouts import block_parts, published_kaconvnet
from models.rows.kaconv import SIZES, STEM_STRIDES

_SQUEEZE = 4
_HIDDEN = 1024  # between the layers of a factored head
_GATE_SHIFT = 1e-4  # as published
_POOLS = (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d)

# What mixes positions: layer(c_in, c_out, kernel_size, stride=...).
Mixer = Callable[..., nn.Module]


class SqueezeExcitation(nn.Module):
    """y = x sigmoid(up(relu(down(mean(x)))) + 1e-4), the mean over positions.

    Source: Hu et al. (2018).
    """

    def __init__(self, channels: int, ndim: int) -> None:
        super().__init__()
        inner = max(channels // _SQUEEZE, 1)
        self.pool = _POOLS[ndim - 1](1)
        self.down = CONVS[ndim - 1](channels, inner, 1)
        self.up = CONVS[ndim - 1](inner, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        gate: Tensor = self.up(torch.relu(self.down(self.pool(x))))
        return x * torch.sigmoid(gate + _GATE_SHIFT)


class KABlock(nn.Module):
    """h = x + excite(norm(mix(x))), y = h + drop_path(ffn(h)); ffn has four times the channels."""

    def __init__(
        self, channels: int, kernel_size: int, *, mixer: Mixer, ndim: int, drop_path: float
    ) -> None:
        super().__init__()
        self.mix = ConvBlock(mixer(channels, channels, kernel_size), _norm(channels, ndim), None)
        self.excite = SqueezeExcitation(channels, ndim)
        conv, hidden = CONVS[ndim - 1], 4 * channels
        self.ffn = nn.Sequential(
            _norm(channels, ndim),
            ConvBlock(conv(channels, hidden, 1), _norm(hidden, ndim), nn.GELU()),
            ConvBlock(conv(hidden, channels, 1), _norm(channels, ndim), None),
        )
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.excite(self.mix(x))
        y: Tensor = x + self.drop_path(self.ffn(x))
        return y


class Residual(nn.Sequential):
    """y = x + layers(x)."""

    def forward(self, input: Tensor) -> Tensor:
        y: Tensor = input + super().forward(input)
        return y


def build_kaconvnet(
    *, kind: str | None, num_classes: int, input_channels: int, **options: Any
) -> ConvNet:
    """Stem, then four stages with half the size between them, average over all positions, head."""
    ndim = options["ndim"]
    channels, blocks = SIZES[options["size"]]
    channels = tuple(max(1, round(c * options["width_scale"])) for c in channels)
    blocks = blocks if options["blocks"] is None else (options["blocks"],) * len(blocks)
    strides = STEM_STRIDES[options["stem_stride"]]
    mixer: Mixer = partial(_mixer, kind, ndim)
    block = partial(KABlock, mixer=mixer, ndim=ndim, drop_path=options["drop_path"])
    features = nn.Sequential(_stem(mixer, input_channels, channels[0], strides, ndim))
    info: list[dict[str, Any]] = []
    for i, (width, count) in enumerate(zip(channels, blocks, strict=True)):
        if i:
            features.append(_downsample(channels[i - 1], width, ndim))
        features.append(Residual(*(block(width, 3 if i else 5) for _ in range(count))))
        reduction = options["stem_stride"] * 2**i
        info.append({"num_chs": width, "reduction": reduction, "module": f"features.{2 * i + 1}"})
    return ConvNet(
        features,
        partial(_build_head, options["head"], channels[-1], dropout=options["dropout_linear"]),
        num_classes=num_classes,
        num_features=channels[-1],
        feature_shape=(1,) * ndim,
        feature_info=info,
        published=published_kaconvnet(options["head"]),
    )


def _mixer(
    kind: str | None, ndim: int, c_in: int, c_out: int, kernel_size: int, stride: int = 1
) -> nn.Module:
    """KAConv, a plain convolution, or one of the kind, which a norm follows in any case."""
    padding = kernel_size // 2
    if kind is None:
        return CONVS[ndim - 1](c_in, c_out, kernel_size, stride, padding)
    given: dict[str, Any] = {"ndim": ndim, "stride": stride, "padding": padding}
    if kind == "kaconv":
        return KAConv(c_in, c_out, kernel_size, **given)
    return maker_of(KINDS[kind]).conv(c_in, c_out, kernel_size, norm=None, **given)


def _stem(
    mixer: Mixer, c_in: int, channels: int, strides: Sequence[int], ndim: int
) -> nn.Sequential:
    conv = CONVS[ndim - 1]
    first, last = strides
    return nn.Sequential(
        ConvBlock(mixer(c_in, channels, 3, stride=first), _norm(channels, ndim), None),
        ConvBlock(
            conv(channels, channels, 3, padding=1, groups=channels),
            _norm(channels, ndim),
            nn.LeakyReLU(0.1),
        ),
        ConvBlock(conv(channels, channels, 1), _norm(channels, ndim), nn.LeakyReLU(0.1)),
        ConvBlock(conv(channels, channels, 3, last, 1), _norm(channels, ndim), None),
    )


def _downsample(c_in: int, channels: int, ndim: int) -> nn.Sequential:
    conv = CONVS[ndim - 1]
    return nn.Sequential(
        ConvBlock(conv(c_in, channels, 1), _norm(channels, ndim), nn.LeakyReLU(0.1)),
        ConvBlock(
            conv(channels, channels, 3, 2, 1, groups=channels),
            _norm(channels, ndim),
            nn.LeakyReLU(0.1),
        ),
    )


def _norm(channels: int, ndim: int) -> nn.Module:
    norm = make_norm("batch", channels, ndim, True)
    assert norm is not None
    return norm


def _build_head(name: str, features: int, num_classes: int, *, dropout: float) -> nn.Module:
    last = [nn.Dropout(dropout), nn.Linear(_HIDDEN, num_classes)]
    if name == "factored":
        return nn.Sequential(nn.Linear(features, _HIDDEN), *last)
    return nn.Sequential(nn.Dropout(dropout), nn.Linear(features, num_classes))


@layouts_of.register
def _published_block(block: KABlock, keys: Collection[str]) -> list[Layout]:
    parts = {
        **block_parts("mix", "conv", "norm"),
        "excite": "se",
        "ffn.0": "convffn.preffn_bn",
        **block_parts("ffn.1", "convffn.pw1.0", "convffn.pw1.1"),
        **block_parts("ffn.2", "convffn.pw2.0", "convffn.pw2.1"),
    }
    own = {name: name for name, _ in block.named_children()}
    return [Layout("KAConvNet", children=parts), Layout("own", children=own)]
