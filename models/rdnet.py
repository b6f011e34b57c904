"""RDNet of layers of any kind, built from the rows of models.rows.rdnet.

Source: Kim et al. (2024), "DenseNets Reloaded"; torch-conv-kan, kagrdnet.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import partial
from typing import Any

import torch
from timm.layers import DropPath
from torch import Tensor, nn
from torch.nn import functional as F

from conv_kan.interop.layouts import layouts_of
from conv_kan.interop.rules import Layout
from models.blocks import ConvNet, pooled_norm_problem
from models.depthwise import depthwise_kit
from models.heads import build_head
from models.kinds import BOTTLENECK, EXPERTS
from models.kits import KANKit, Kit, create_kit
from models.layouts import published_rdnet
from models.rows.rdnet import SIZES

_EPS = 1e-6  # of layer norms, but that of the head
_WIDEN = 4  # channels of a block's middle, in multiples of its input's
_EXCITED_FROM = 2  # stage


class EffectiveSE(nn.Module):
    """y = x hard_sigmoid(fc(mean(x))), the mean over positions.

    Source: Lee and Park (2020), "CenterMask".
    """

    def __init__(self, fc: nn.Module) -> None:
        super().__init__()
        self.fc = fc

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(dim=tuple(range(2, x.dim())), keepdim=True)
        return x * F.hardsigmoid(self.fc(mean))


class DenseBlock(nn.Module):
    """y = [x, drop_path(gamma layers(x))]: `growth` channels more than x has."""

    def __init__(
        self, layers: nn.Sequential, growth: int, *, layer_scale: float, drop_path: float
    ) -> None:
        super().__init__()
        self.layers = layers
        self.gamma = nn.Parameter(torch.full((growth,), layer_scale))
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        new = self.layers(x) * self.gamma.view(-1, *[1] * (x.dim() - 2))
        return torch.cat([x, self.drop_path(new)], dim=1)


class Stages:
    """Makes the stages of a network one after the other, and remembers what the next one reads."""

    def __init__(self, kind: str | None, options: Mapping[str, Any]) -> None:
        self.options, self.legacy = options, options.get("legacy", False)
        self.kit = create_kit(kind, options)
        self.depthwise = depthwise_kit(kind, options, self.legacy)
        self.stem_kit = _published_stem_kit(options) if self.legacy else self.kit
        self.size, self.channels = SIZES[options["size"]], 0
        last = len(self.size.growth) * options["blocks"] - 1
        self.drop_paths = (options["drop_path"] * i / max(last, 1) for i in range(last + 1))

    def scaled(self, channels: int) -> int:
        return max(1, round(channels * self.options["width_scale"]))

    def stem(self, c_in: int) -> nn.Sequential:
        """Patches, without dropout."""
        self.channels, patch = self.scaled(self.size.stem), self.options["patch_size"]
        return nn.Sequential(
            self.stem_kit.conv(c_in, self.channels, patch, stride=patch, padding=0)
        )

    def stage(self, i: int) -> nn.Sequential:
        """Half the channels, and where it says so half the size; blocks; attention."""
        stage, options = nn.Sequential(), self.options
        if i:
            stride, width = 2 if i in self.size.halves else 1, _eighths(self.channels / 2)
            stage.append(
                self.kit.conv(
                    self.channels, width, stride, stride=stride, padding=0,
                    dropout=options["dropout"],
                )
            )  # fmt: skip
            self.channels = width
        growth = self.scaled(self.size.growth[i])
        for _ in range(options["blocks"]):
            stage.append(self._block(growth, excited=i >= _EXCITED_FROM))
            self.channels += growth
        if options["attention"]:
            divisor = options["sa_inner_projection"]
            inner = None if divisor is None else max(1, self.channels // divisor)
            stage.append(self.kit.attention(self.channels, inner=inner, groups=1))
        return stage

    def _block(self, growth: int, excited: bool) -> DenseBlock:
        c, options = self.channels, self.options
        middle, drops = _eighths(_WIDEN * c), dict[str, Any](dropout=options["dropout"])
        layers = nn.Sequential(
            self.depthwise.conv(c, c, 7, groups=c, **drops),
            self.kit.conv(c, middle, 1, mixes=True, **drops),
            self.kit.conv(middle, growth, 1, mixes=True, **drops),
        )
        if excited:  # one position has no statistics of its own
            norm: dict[str, Any] = {"norm": "layer"} if self.kit.norm == "instance" else {}
            layers.append(EffectiveSE(self.kit.conv(growth, growth, 1, **norm, **drops)))
        scale, path = options["layer_scale"], next(self.drop_paths)
        return DenseBlock(layers, growth, layer_scale=scale, drop_path=path)


def build_rdnet(
    *, kind: str | None, num_classes: int, input_channels: int, **options: Any
) -> ConvNet:
    """Stem, stages of dense blocks, average over all positions, layer norm, head.

    Raises: ValueError for sa_inner_projection without attention. Training is refused with a norm
        that leaves the same features for every image.
    """
    if options["sa_inner_projection"] is not None and not options["attention"]:
        raise ValueError(
            f"sa_inner_projection={options['sa_inner_projection']} has no effect without "
            "attention; type attention=true, too"
        )
    stages = Stages(kind, options)
    features = nn.Sequential(stages.stem(input_channels))
    info: list[dict[str, Any]] = []
    reduction, halves = options["patch_size"], stages.size.halves
    for i in range(len(stages.size.growth)):
        features.append(stages.stage(i))
        reduction *= 2 if i in halves else 1
        if i:
            info = info if i in halves else info[:-1]
        info.append(
            {"num_chs": stages.channels, "reduction": reduction, "module": f"features.{i + 1}"}
        )
    for module in features.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = _EPS
    kit, shape = stages.kit, (1,) * stages.kit.ndim
    return ConvNet(
        features,
        partial(_build_head, kit, stages.channels, options=options),
        num_classes=num_classes,
        num_features=stages.channels,
        feature_shape=shape,
        min_size=reduction * (2 if kit.norm == "instance" else 1),
        feature_info=info,
        published=published_rdnet(kind, len(stages.size.growth), options),
        training_problem=pooled_norm_problem(kit.norm, kit.ends_in_norm, shape),
    )


def _build_head(
    kit: Kit, features: int, num_classes: int, *, options: Mapping[str, Any]
) -> nn.Module:
    mlp = kit.mlp if isinstance(kit, KANKit) else None
    dropout = options["dropout_linear"]
    head = build_head(options["head"], features, num_classes, dropout=dropout, mlp=mlp)
    assert isinstance(head, nn.Sequential)
    return nn.Sequential(nn.LayerNorm(features), *head)


def _eighths(channels: float) -> int:
    """The largest multiple of 8 that is not larger, but at least 8."""
    return max(8, int(channels / 8) * 8)


def _published_stem_kit(options: Mapping[str, Any]) -> Kit:
    """Bottlenecks of degree 3, whatever the other layers are."""
    fixed = {"form": "bottleneck", "degree": 3, **dict.fromkeys((*BOTTLENECK, *EXPERTS))}
    return create_kit("gram", {**options, **fixed})


@layouts_of.register
def _published_block(block: DenseBlock, keys: Collection[str]) -> list[Layout]:
    return [
        Layout("RDNet", children={"layers": "layers.layers"}),
        Layout("own", children={"layers": "layers"}),
    ]
