"""What every network here shares that gives a map of logits of every class: segmentation."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.blocks import CONVS
from models.network import Network

_MODES = ("linear", "bilinear", "trilinear")


class MapNet(Network):
    """logits = head(y_0), y_l = decoder_l(y_{l+1}, h_l), y_L = h_L, h_l = encoder_l(h_{l-1}).

    encoder: levels from the image's size to the smallest; decoder: levels back, each of which
    brings what comes from below to the size of the map beside it. With as many of them as encoder
    levels the last one is given the image itself; with one less it stops at the first level's map.
    `size_divisor`: sides that it divides are halved and doubled exactly, without interpolation to
    other factors; all others work too. Other words are Network's.

    Shapes: x (B, C, *S), S of ndim sizes -> logits (B, num_classes, *S).
    Raises: as Network.
    """

    task = "segmentation"
    encoder: nn.Sequential
    decoder: nn.ModuleList

    def __init__(
        self,
        encoder: Iterable[nn.Module],
        decoder: Iterable[nn.Module],
        make_head: Callable[[int], nn.Module],
        *,
        size_divisor: int,
        **network: Any,
    ) -> None:
        body = {"encoder": nn.Sequential(*encoder), "decoder": nn.ModuleList(decoder)}
        super().__init__(body, make_head, **network)
        self.size_divisor = size_divisor

    def forward_features(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the maps of all decoder levels, the finest first."""
        self._check_size(x)
        maps = [x]
        for level in self.encoder:
            maps.append(level(maps[-1]))
        found = [maps.pop()]
        for level in self.decoder:
            found.append(level(found[-1], maps.pop()))
        return tuple(reversed(found))

    def forward_head(self, maps: tuple[Tensor, ...], pre_logits: bool = False) -> Any:
        """Return the logits, or the map that the head reads: (B, num_features, *S)."""
        return maps[0] if pre_logits else self.head(maps[0])

    def forward(self, x: Tensor) -> Any:
        return self.forward_head(self.forward_features(x))

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Return how parameters form layers, for a learning rate that decays with depth."""

        def numbered(part: str) -> list[tuple[str, None]]:
            level, layer = rf"^{part}\.(\d+)", rf"^{part}\.(\d+)\.(\d+)"
            return [(pattern, None) for pattern in ((level,) if coarse else (layer, level))]

        return {"encoder": numbered("encoder"), "decoder": numbered("decoder")}


class DeepMapNet(MapNet):
    """A MapNet whose head reads the maps of all decoder levels (SideOutputs).

    Shapes: x (B, C, *S) -> logits (B, num_classes, *S); in training, with deep_supervision, a tuple
        of them: of all levels together, and of each, the finest first.
    """

    def __init__(self, *parts: Any, deep_supervision: bool, **network: Any) -> None:
        super().__init__(*parts, **network)
        self.deep_supervision = deep_supervision

    def forward_head(self, maps: tuple[Tensor, ...], pre_logits: bool = False) -> Any:
        """Return the logits, all of them where they are asked for, or the finest map."""
        if pre_logits or not self.num_classes:
            return maps[0]
        outputs = self.head(maps)
        return outputs if self.training and self.deep_supervision else outputs[0]


class SideOutputs(nn.Module):
    """d_l = resize(side_l(y_l)), a 3x3 convolution, and d_0 = fuse([d_1, ..., d_L]), a 1x1 one.

    Shapes: maps y_l (B, C_l, *S_l), the finest first -> (d_0, d_1, ..., d_L), each
        (B, num_classes, *S_1).
    Source: Qin et al. (2020), "U^2-Net".
    """

    def __init__(self, channels: Iterable[int], num_classes: int, ndim: int) -> None:
        super().__init__()
        conv = CONVS[ndim - 1]
        self.sides = nn.ModuleList(conv(c, num_classes, 3, padding=1) for c in channels)
        self.fuse = conv(len(self.sides) * num_classes, num_classes, 1)

    def forward(self, maps: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        d = [side(y) for side, y in zip(self.sides, maps, strict=True)]
        d = [resize(y, d[0], corners=False) for y in d]
        return self.fuse(torch.cat(d, dim=1)), *d


class Merge(nn.Sequential):
    """y = layers([resize(y), skip]): what comes from below, and the map beside it."""

    corners: bool

    def __init__(self, *layers: nn.Module, corners: bool) -> None:
        super().__init__(*layers)
        self.corners = corners

    def forward(self, below: Tensor, skip: Tensor) -> Tensor:  # type: ignore[override]
        merged = torch.cat([resize(below, skip, corners=self.corners), skip], dim=1)
        y: Tensor = super().forward(merged)
        return y


def level_info(widths: Iterable[int], reductions: Iterable[int]) -> list[dict[str, Any]]:
    """feature_info of the levels of an encoder."""
    return [
        {"num_chs": width, "reduction": reduction, "module": f"encoder.{level}"}
        for level, (width, reduction) in enumerate(zip(widths, reductions, strict=True))
    ]


def resize(x: Tensor, like: Tensor, *, corners: bool) -> Tensor:
    """x at the size of another map, by linear interpolation along every axis.

    corners: the first and last pixels of both lie on each other (align_corners).
    """
    size = like.shape[2:]
    if x.shape[2:] == size:
        return x
    return F.interpolate(x, size=size, mode=_MODES[x.dim() - 3], align_corners=corners)
