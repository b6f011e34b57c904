"""simple_conv_<family> and eight_simple_conv_<family>, and their twins of plain convolutions."""

from __future__ import annotations

from typing import Any

from models.entry import Entry
from models.kinds import basis_of, kind_options
from models.options import Option
from models.rows.common import DROPOUT, GROUPS

# Name -> stride and default channels of every layer.
DEPTHS = {
    "simple_conv": ((1, 2, 2, 1), (32, 64, 128, 256)),
    "eight_simple_conv": ((1, 2, 2, 1, 1, 2, 1, 1), (16, 32, 64, 128, 256, 256, 512, 512)),
}
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


def _options(layer_sizes: tuple[int, ...], kind: str | None) -> list[Option]:
    layers: Any = tuple.__class_getitem__((int,) * len(layer_sizes))
    # The published twin of plain convolutions has this dropout built in.
    dropout_linear = 0.25 if kind is None else 0.0
    options = [
        Option("layer_sizes", layers, layer_sizes, "channels of every layer", minimum=1),
        GROUPS,
        DROPOUT,
        Option("dropout_linear", float, dropout_linear, "of features, before the head", 0, 1),
    ]
    if kind is not None:
        options += [Option("head", str, "kan", "classifier", choices=("kan", "linear"))]
    options += kind_options(kind)
    if any(option.name == "degree" for option in options):
        # Published networks write degree_out=1 for head=linear, hence the minimum.
        text = "degree of the kan head; null: 3"
        options += [Option("degree_out", int | None, None, text, minimum=2, of_basis=True)]
    return options


ROWS = tuple(
    Entry(
        name + suffix,
        "models.baselines:build_baseline",
        _options(layer_sizes, kind),
        basis_of(kind),
        {"kind": kind, "strides": strides},
    )
    for name, (strides, layer_sizes) in DEPTHS.items()
    for suffix, kind in SUFFIXES.items()
)
