"""The 4- and 8-layer networks of 3x3 convolutions that compare one layer family with another.

Rows of the registry: simple_conv_<family> and eight_simple_conv_<family>, and their twins of plain
convolutions, simple_conv and eight_simple_conv. Source: torch-conv-kan, baselines; with
scale="none" they compute what the published networks compute from the same weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

from torch import nn

from models.blocks import ConvNet, check_groups, check_pooled_norm
from models.heads import build_head
from models.kinds import basis_of
from models.kits import ConvKit, KANKit, create_kit, kit_options
from models.options import Option
from models.registry import register


@dataclass(frozen=True)
class Depth:
    """One of the two sizes: its name, the stride of every layer and the default channels."""

    name: str
    strides: tuple[int, ...]
    layer_sizes: tuple[int, ...]


DEPTHS = (
    Depth("simple_conv", (1, 2, 2, 1), (32, 64, 128, 256)),
    Depth("eight_simple_conv", (1, 2, 2, 1, 1, 2, 1, 1), (16, 32, 64, 128, 256, 256, 512, 512)),
)
# Suffix of the name -> kind of its layers; None is the plain twin.
SUFFIXES: dict[str, str | None] = {
    "": None,
    "_kan": "bspline",
    "_fastkan": "rbf",
    "_kaln": "legendre",
    "_kacn": "chebyshev",
    "_kagn": "gram",
    "_kajn": "jacobi",
    "_kabn": "bernstein",
    "_relukan": "relu",
    "_wavkan": "wavelet",
    "_kagn_bn": "gram_bottleneck",
    "_moe_kagn_bn": "gram_bottleneck_experts",
}


def build_baseline(
    depth: Depth, kind: str | None, num_classes: int, input_channels: int, **options: Any
) -> ConvNet:
    """Convolutions, average over all positions, head.

    The first layer has one group and no dropout, as published.

    Raises: ValueError for groups that do not divide the channels, for degree_out without a kan
        head and for a norm that leaves the same features for every image.
    """
    sizes, groups = options["layer_sizes"], options["groups"]
    pairs = list(pairwise((input_channels, *sizes)))
    check_groups(groups, pairs[1:])
    kit = create_kit(kind, options)
    check_pooled_norm(kit.norm, kit.ends_in_norm, (1, 1))
    features = nn.Sequential()
    for i, ((c_in, c_out), stride) in enumerate(zip(pairs, depth.strides, strict=True)):
        later: dict[str, Any] = {"groups": groups, "dropout": options["dropout"]} if i else {}
        features.append(kit.conv(c_in, c_out, stride=stride, **later))
    head = _build_head(kit, sizes[-1], num_classes, options)
    # Strides round up: any image leaves one pixel, but an instance norm needs two.
    halvings = sum(stride == 2 for stride in depth.strides)
    return ConvNet(features, head, min_size=2**halvings + 1 if kit.norm == "instance" else 1)


def _build_head(
    kit: KANKit | ConvKit, features: int, num_classes: int, options: Mapping[str, Any]
) -> nn.Module:
    head, degree = options.get("head", "linear"), options.get("degree_out")
    if head == "linear" and degree is not None:
        raise ValueError(f"degree_out={degree} has no effect with head=linear; leave it out")
    basis: dict[str, Any] = {"degree": degree or 3} if "degree_out" in options else {}
    mlp = partial(kit.mlp, **basis) if isinstance(kit, KANKit) else None
    return build_head(head, features, num_classes, dropout=options["dropout_linear"], mlp=mlp)


def baseline_options(depth: Depth, kind: str | None) -> tuple[Option, ...]:
    """The options of one row."""
    kit = kit_options(kind)
    layers: Any = tuple.__class_getitem__((int,) * len(depth.strides))
    # The published twin of plain convolutions has this dropout built in.
    dropout_linear = 0.25 if kind is None else 0.0
    options = [
        Option("layer_sizes", layers, depth.layer_sizes, "channels of every layer", minimum=1),
        Option("groups", int, 1, "groups of every convolution but the first", minimum=1),
        Option("dropout", float, 0.0, "of channels, in every layer but the first", 0, 1),
        Option("dropout_linear", float, dropout_linear, "of features, before the head", 0, 1),
    ]
    if kind is not None:
        options += [Option("head", str, "kan", "classifier", choices=("kan", "linear"))]
    options += kit
    if any(option.name == "degree" for option in kit):
        # Published networks write degree_out=1 for head=linear, hence the minimum.
        text = "degree of the kan head; null: 3"
        options += [Option("degree_out", int | None, None, text, minimum=2, of_basis=True)]
    return tuple(options)


for _depth in DEPTHS:
    for _suffix, _kind in SUFFIXES.items():
        _options = baseline_options(_depth, _kind)
        register(_depth.name + _suffix, options=_options, basis=basis_of(_kind))(
            partial(build_baseline, _depth, _kind)
        )
