"""Residual networks, built from the rows of models.rows.reskanet.

Source: He et al. 2016 (stages, blocks of two and three); torch-conv-kan (an eighth of the channels,
blocks of a 3x3 and a 1x1 convolution, nothing behind the sum).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from torch import nn

from models.blocks import ConvNet, check_groups, pooled_norm_problem
from models.heads import build_head
from models.kinds import kind_options
from models.kits import ConvKit, KANKit, create_kit
from models.layouts import published_reskanet
from models.residual import STRIDES, build_block, plan_stages, scaled
from models.stems import build_stem, stem_reduction


def build_reskanet(
    *, kind: str | None, num_classes: int, input_channels: int, **options: Any
) -> ConvNet:
    """stem -> four stages of residual blocks -> average over all positions -> linear.

    The stem has one group, no dropout and no experts; 1x1 convolutions have no experts either.

    Raises: ValueError for groups that do not divide the channels and for a base_width without
        effect. Training is refused with a norm that leaves the same features for every image.
    """
    stages = plan_stages(options)
    convs = [conv for stage in stages for block in stage for conv in block.convs]
    check_groups(options["groups"], [(c.c_in, c.c_out) for c in convs if c.kernel == 3])
    kit = create_kit(kind, options)
    make_block = partial(build_block, kit, _pointwise_kit(kit, options), options)
    stem_width = scaled(options["stem_width"], options)
    features = nn.Sequential(build_stem(kit, input_channels, stem_width, options))
    reduction = stem_reduction(options)
    stem = {"num_chs": stem_width, "reduction": options["stem_stride"], "module": "features.0.0"}
    info = [stem]
    for i, (stage, stride) in enumerate(zip(stages, STRIDES, strict=True), start=1):
        features.append(nn.Sequential(*map(make_block, stage)))
        reduction *= stride
        channels = stage[-1].ends.c_out
        info.append({"num_chs": channels, "reduction": reduction, "module": f"features.{i}"})
    num_features = stages[-1][-1].ends.c_out
    shape = (1,) * kit.ndim
    return ConvNet(
        features,
        partial(build_head, "linear", num_features, dropout=options["dropout_linear"], mlp=None),
        num_classes=num_classes,
        num_features=num_features,
        feature_shape=shape,
        # Strides and pools round up: any image leaves one pixel, but an instance norm needs two.
        min_size=reduction + 1 if kit.norm == "instance" else 1,
        feature_info=info,
        published=published_reskanet(kind, options),
        # The last stage begins with a sum of two norms, and what follows adds norms.
        training_problem=pooled_norm_problem(kit.norm, kit.ends_in_norm, shape),
    )


def _pointwise_kit(kit: KANKit | ConvKit, options: Mapping[str, Any]) -> KANKit | ConvKit:
    """That of the 1x1 convolutions, which are another kind's in published mixtures of Gram."""
    if not options.get("legacy_pointwise"):
        return kit
    own = {option.name: option.default for option in kind_options("legendre")}
    shared = {name: options[name] for name in ("ndim", "degree", "affine", "scale", "backend")}
    return create_kit("legendre", {**own, **shared, "norm": "instance", "squash": "minmax"})
