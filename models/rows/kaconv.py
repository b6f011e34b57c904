"""KAConvNet: stages of KAConv layers with squeeze and excitation, and its twins.

The twins have other layers in the places of KAConv: plain convolutions, or those that share one
learned function (SV-KAN).

Published default -> default here, where they differ (`PUBLISHED` has what makes a network exactly
the published one): head factored -> linear, which is the same set of functions (two linear layers
without an activation between them are one) with 1.2 million parameters less; drop_path 0.1 and
dropout_linear 0.25 -> 0, for trainings that are shorter than 300 epochs. stem_stride=4 is the
published one, for images of 224x224; at 32x32, 1 or 2 leave more than one pixel to the last stage.
"""

from __future__ import annotations

from typing import Any

from models.entry import Entry
from models.kinds import basis_of
from models.options import Option
from models.rows.common import NDIM

# Size -> channels and blocks of the four stages.
SIZES = {
    "small": ((32, 64, 128, 256), (1, 1, 3, 1)),
    "base": ((32, 64, 128, 256), (2, 2, 6, 2)),
    "large": ((48, 96, 192, 384), (2, 2, 6, 2)),
}
# Stride of the stem -> those of its first layer and of its last one.
STEM_STRIDES = {1: (1, 1), 2: (2, 1), 4: (2, 2)}
HEADS = ("linear", "factored")

# Name -> size, and what mixes positions: kaconv, a kind of models.kinds, or None, which is plain.
_NAMES: dict[str, tuple[str, str | None]] = {
    "kaconvnet": ("small", "kaconv"),
    "kaconvnet_s": ("small", "kaconv"),
    "kaconvnet_b": ("base", "kaconv"),
    "kaconvnet_l": ("large", "kaconv"),
    "kaconvnet_conv": ("small", None),
    "kaconvnet_svkan": ("small", "shared_spline"),
}
PUBLISHED: dict[str, dict[str, Any]] = {
    name: {"head": "factored", "drop_path": 0.1, "dropout_linear": 0.25}
    for name in ("kaconvnet_s", "kaconvnet_b", "kaconvnet_l")
}


def _options(size: str) -> list[Option]:
    return [
        NDIM,
        Option("size", str, size, "channels and blocks of the stages", choices=tuple(SIZES)),
        Option("width_scale", float, 1.0, "factor on the channels", minimum=0.01,
               is_width=True),
        Option("blocks", int | None, None, "of every stage, instead of the size's", minimum=1),
        Option("stem_stride", int, 4, "pixels of the image along an axis for one of the first "
               "stage", choices=tuple(STEM_STRIDES)),
        Option("drop_path", float, 0.0, "of whole blocks, in training", 0, 1),
        Option("head", str, "linear", "classifier; factored: two linear layers in a row",
               choices=HEADS),
        Option("dropout_linear", float, 0.0, "before the last linear layer", 0, 1),
    ]  # fmt: skip


ROWS = tuple(
    Entry(
        name,
        "models.kaconv:build_kaconvnet",
        _options(size),
        kind if kind == "kaconv" else basis_of(kind),
        arguments={"kind": kind},
    )
    for name, (size, kind) in _NAMES.items()
)
