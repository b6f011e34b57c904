"""Dense networks, built from the rows of models.rows.densekanet.

Source: Huang et al. 2017 (blocks, transitions); Pleiss et al. 2017 (recomputing what a layer
reads); torch-conv-kan (KAN convolutions without norms of their own before them, SELU transitions).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from conv_kan.layers.norm import make_norm
from models.blocks import CONVS, ConvNet, check_groups, pooled_norm_problem
from models.checkpointing import recompute_in_backward
from models.heads import build_head, head_layers, with_outer_dropout
from models.kits import ConvKit, KANKit, create_kit
from models.layouts import published_densekanet
from models.rows.densekanet import DEPTHS
from models.stems import build_stem, stem_reduction

_AVERAGES = (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)


class DenseLayer(nn.Module):
    """y = conv2(conv1(cat(maps))): what a layer adds to the maps before it.

    With `grad_checkpointing` conv1(cat(maps)) is computed again in backward: of all layers together
    the concatenations have the square of the channels of one, and are then not kept.

    Shapes: maps (B, C_i, *S), together c_in channels -> y (B, growth_rate, *S).
    """

    def __init__(self, conv1: nn.Module, conv2: nn.Module) -> None:
        super().__init__()
        self.conv1, self.conv2 = conv1, conv2
        self.grad_checkpointing = False

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        if self.grad_checkpointing:
            inner = recompute_in_backward(self.conv1, self._squeeze, *maps)
        else:
            inner = self._squeeze(*maps)
        y: Tensor = self.conv2(inner)
        return y

    def _squeeze(self, *maps: Tensor) -> Tensor:
        inner: Tensor = self.conv1(torch.cat(maps, 1))
        return inner


class DenseBlock(nn.Sequential):
    """Layers each of which reads the input of the block and all that the layers before it added.

    Shapes: x (B, C, *S) -> y (B, C + len(self) * growth_rate, *S), which begins with x.
    """

    def forward(self, input: Tensor) -> Tensor:
        maps = [input]
        for layer in self:
            maps.append(layer(maps))
        return torch.cat(maps, 1)


def plan_densekanet(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options without nulls, which the depth fills; widths are scaled.

    `transitions` says how many blocks have one behind them.
    """
    depth = DEPTHS[options["depth"]]
    stem = zip(("stem_kernel", "stem_stride", "stem_pool"), depth.stem, strict=True)
    plan: dict[str, Any] = dict(stem)
    is_kan = depth.ends_in_transition and "form" in options  # which the plain twin has not
    plan |= {"block_config": depth.blocks, "growth_rate": depth.growth_rate}
    plan |= {"head": "kan" if is_kan else "linear"}
    plan |= {key: value for key, value in options.items() if value is not None or key not in plan}
    for key in ("growth_rate", "num_init_features"):
        plan[key] = max(1, round(plan[key] * plan["width_scale"]))
    plan["transitions"] = len(plan["block_config"]) - (not depth.ends_in_transition)
    return plan


def build_densekanet(
    *, kind: str | None, num_classes: int, input_channels: int, **options: Any
) -> ConvNet:
    """stem -> dense blocks, with transitions that halve them -> average -> head.

    The stem has one group, no dropout and no experts; 1x1 convolutions have no experts either.

    Raises: ValueError for groups that do not divide the channels and for a head_activation without
        a KAN head. Training is refused with a norm that leaves the same features for every image.
    """
    plan = plan_densekanet(options)
    growth = plan["growth_rate"]
    check_groups(plan["groups"], [(plan["bn_size"] * growth, growth)])
    kit = create_kit(kind, options)
    channels, reduction = plan["num_init_features"], stem_reduction(plan)
    features = nn.Sequential(build_stem(kit, input_channels, channels, plan))
    stem = {"num_chs": channels, "reduction": plan["stem_stride"], "module": "features.0.0"}
    info = [stem]
    for i, length in enumerate(plan["block_config"]):
        widths = [channels + j * growth for j in range(length + 1)]
        features.append(DenseBlock(*(_build_layer(kit, c, plan) for c in widths[:-1])))
        channels = widths[-1]
        info.append({"num_chs": channels, "reduction": reduction << i,
                     "module": f"features.{len(features) - 1}"})  # fmt: skip
        if i < plan["transitions"]:
            features.append(_build_transition(channels, kit, plan["transition_norm"]))
            channels //= 2
    ends_in_norm = kit.ends_in_norm and not plan["transitions"]
    network = ConvNet(
        features,
        partial(_build_head, kit, kind, channels, plan),
        num_classes=num_classes,
        num_features=channels,
        feature_shape=(1,) * kit.ndim,
        min_size=_smallest(kit, plan),
        feature_info=info,
        published=published_densekanet(kind, plan),
        training_problem=pooled_norm_problem(kit.norm, ends_in_norm, (1,) * kit.ndim),
    )
    network.set_grad_checkpointing(options["grad_checkpointing"])
    return network


def _build_layer(kit: KANKit | ConvKit, c_in: int, plan: Mapping[str, Any]) -> DenseLayer:
    inner, growth = plan["bn_size"] * plan["growth_rate"], plan["growth_rate"]
    arguments = {"groups": plan["groups"], "dropout": plan["dropout"], "mixes": True}
    return DenseLayer(kit.conv(c_in, inner, 1), kit.conv(inner, growth, **arguments))


def _build_transition(channels: int, kit: KANKit | ConvKit, norm: str | None) -> nn.Sequential:
    """norm -> SELU -> half of the channels -> average over pairs of positions along every axis."""
    name = norm or ("none" if kit.ends_in_norm else "batch")
    made = make_norm(None if name == "none" else name, channels, kit.ndim, affine=True)
    conv = CONVS[kit.ndim - 1](channels, channels // 2, 1, bias=False)
    parts = {"norm": made or nn.Identity(), "activation": nn.SELU(), "conv": conv}
    return nn.Sequential(OrderedDict(parts, pool=_AVERAGES[kit.ndim - 1](2)))


def _build_head(
    kit: KANKit | ConvKit,
    kind: str | None,
    features: int,
    plan: Mapping[str, Any],
    num_classes: int,
) -> nn.Module:
    """A KAN head is a layer of the kind, in a bottleneck where the form is one."""
    name, mlp = plan["head"], None
    if isinstance(kit, KANKit):
        mlp = kit.bottleneck_mlp if kit.squeeze else kit.mlp
    layers = head_layers(kind, name, mlp, plan)
    head = build_head(name, features, num_classes, dropout=plan["dropout_linear"], mlp=layers)
    return with_outer_dropout(head) if name == "kan" else head


def _smallest(kit: KANKit | ConvKit, plan: Mapping[str, Any]) -> int:
    """The smallest image: transitions round down and need a pair, instance norms two pixels."""
    blocks = len(plan["block_config"])
    last = 2 if kit.norm == "instance" or plan["transitions"] == blocks else 1
    first: int = last << (blocks - 1)
    return (first - 1) * stem_reduction(plan) + 1
