"""Networks of 4, 8, 12 and 16 layers of a kind, and their twins of plain convolutions.

PUBLISHED holds what the published ones of 4 and 8 layers were made with, where the default here is
another: scale none, and in mixtures a quarter of the channels in the bottlenecks.
"""

from __future__ import annotations

from typing import Any

from models.entry import Entry
from models.kinds import basis_of, kind_options
from models.options import Option
from models.rows.common import DROPOUT, GROUPS, KINDS_BY_SUFFIX, NDIM, PUBLISHED_LAYERS

# Name -> stride and default channels of every layer. 4, 8 and 16 layers are published; 12 halves
# the image where 16 does, at layers 2, 4, 8 and 12 (from 1), of which it has the first three.
DEPTHS = {
    "simple_conv": ((1, 2, 2, 1), (32, 64, 128, 256)),
    "eight_simple_conv": ((1, 2, 2, 1, 1, 2, 1, 1), (16, 32, 64, 128, 256, 256, 512, 512)),
    "twelve_simple_conv": (
        (1, 2, 1, 2, 1, 1, 1, 2, 1, 1, 1, 1),
        (8, 16, 16, 32, 32, 64, 64, 128, 128, 128, 256, 256),
    ),
    "sixteen_simple_conv": (
        (1, 2, 1, 2, 1, 1, 1, 2, 1, 1, 1, 2, 1, 1, 1, 1),
        (8, 8, 16, 16, 32, 32, 64, 64, 128, 128, 128, 128, 256, 256, 256, 256),
    ),
}


def _options(layer_sizes: tuple[int, ...], kind: str | None, form: str) -> list[Option]:
    layers: Any = tuple.__class_getitem__((int,) * len(layer_sizes))
    # The published twin of plain convolutions has this dropout built in.
    dropout_linear = 0.25 if kind is None else 0.0
    options = [
        NDIM,
        Option(
            "layer_sizes", layers, layer_sizes, "channels of every layer", minimum=1, is_width=True
        ),
        GROUPS,
        DROPOUT,
        Option("dropout_linear", float, dropout_linear, "of features, before the head", 0, 1),
    ]
    if kind is not None:
        options += [Option("head", str, "kan", "classifier", choices=("kan", "linear"))]
    options += kind_options(kind, form)
    if any(option.name == "degree" for option in options):
        # Published networks write degree_out=1 for head=linear, hence the minimum.
        text = "degree of the kan head; null: 3"
        options += [Option("degree_out", int | None, None, text, minimum=2, of_basis=True)]
    return options


def _name(depth: str, suffix: str) -> str:
    return depth + (f"_{suffix}" if suffix else "")


def _as_published(suffix: str) -> dict[str, Any]:
    kind, form = KINDS_BY_SUFFIX[suffix]
    options: dict[str, Any] = {} if kind in (None, "wavelet") else {"scale": "none"}
    if kind == "legendre":
        options |= PUBLISHED_LAYERS[kind]
    return {**options, "reduction": 4.0} if "bottleneck" in form else options


_PUBLISHED = ("", "kan", "fastkan", "kaln", "kacn", "kagn", "wavkan", "moe_kagn_bn")
# Our name of a published network -> options that make exactly it, which its weights fit.
PUBLISHED = {
    _name(depth, suffix): _as_published(suffix)
    for depth in ("simple_conv", "eight_simple_conv")
    for suffix in _PUBLISHED
}
ROWS = tuple(
    Entry(
        _name(name, suffix),
        "models.baselines:build_baseline",
        _options(layer_sizes, kind, form),
        basis_of(kind),
        {"kind": kind, "strides": strides},
    )
    for name, (strides, layer_sizes) in DEPTHS.items()
    for suffix, (kind, form) in KINDS_BY_SUFFIX.items()
)
