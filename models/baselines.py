"""The networks of 4 to 16 convolutions of 3x3 that compare one layer family with another.

Their rows stand in models.rows.baselines. Source: torch-conv-kan, baselines; with scale="none" they
compute what the published networks compute from the same weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

from torch import nn

from models.blocks import ConvNet, check_groups, pooled_norm_problem
from models.heads import build_head
from models.kits import ConvKit, KANKit, create_kit
from models.layouts import published_baseline


def build_baseline(
    *,
    kind: str | None,
    strides: Sequence[int],
    num_classes: int,
    input_channels: int,
    **options: Any,
) -> ConvNet:
    """Convolutions, one for every stride, average over all positions, head.

    The first layer has one group and no dropout, as published.

    Raises: ValueError for groups that do not divide the channels and for degree_out without a kan
        head. Training is refused with a norm that leaves the same features for every image.
    """
    sizes, groups = options["layer_sizes"], options["groups"]
    pairs = list(pairwise((input_channels, *sizes)))
    check_groups(groups, pairs[1:])
    kit = create_kit(kind, options)
    features = nn.Sequential()
    later: dict[str, Any] = {"groups": groups, "dropout": options["dropout"]}
    info, reduction = [], 1
    for i, ((c_in, c_out), stride) in enumerate(zip(pairs, strides, strict=True)):
        features.append(kit.conv(c_in, c_out, stride=stride, mixes=True, **(later if i else {})))
        reduction *= stride
        info.append({"num_chs": c_out, "reduction": reduction, "module": f"features.{i}"})
    # Strides round up: any image leaves one pixel, but an instance norm needs two.
    halvings = sum(stride == 2 for stride in strides)
    return ConvNet(
        features,
        partial(_build_head, kit, sizes[-1], options=options),
        num_classes=num_classes,
        num_features=sizes[-1],
        feature_shape=(1,) * kit.ndim,
        min_size=2**halvings + 1 if kit.norm == "instance" else 1,
        feature_info=info,
        published=published_baseline(kind, options),
        training_problem=pooled_norm_problem(kit.norm, kit.ends_in_norm, (1,) * kit.ndim),
    )


def _build_head(
    kit: KANKit | ConvKit, features: int, num_classes: int, *, options: Mapping[str, Any]
) -> nn.Module:
    head, degree = options.get("head", "linear"), options.get("degree_out")
    if head == "linear" and degree is not None:
        raise ValueError(f"degree_out={degree} has no effect with head=linear; leave it out")
    basis: dict[str, Any] = {"degree": degree or 3} if "degree_out" in options else {}
    mlp = partial(kit.mlp, **basis) if isinstance(kit, KANKit) else None
    return build_head(head, features, num_classes, dropout=options["dropout_linear"], mlp=mlp)
