"""RDNet, dense blocks of depthwise 7x7 and pointwise layers, of every kind of layer.

Published default -> default here, where they differ: layer_scale 1e-6 -> 1, scale none -> unit,
depthwise kernels read their own channel (published ones do not: `legacy`), the stem is of the form
and degree of the other layers (published: a bottleneck of degree 3, whatever these are), drop_path
acts. `PUBLISHED` has what makes a network exactly the published one. "mini" is no published size:
three stages for images of 32x32.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from models.entry import Entry
from models.kinds import basis_of, kind_options
from models.options import Option
from models.rows.common import DROPOUT, KINDS_BY_SUFFIX, NDIM


@dataclass(frozen=True)
class Size:
    """Channels of the stem, those that a block of every stage adds, stages that halve the size."""

    stem: int
    growth: Sequence[int]
    halves: Sequence[int]


SIZES = {
    "mini": Size(16, (16, 24, 32), (1, 2)),
    "tiny": Size(32, (32, 52, *[64] * 4, 112), (1, 2, 6)),
    "small": Size(72, (64, *[128] * 8, 240, 240), (1, 2, 9)),
    "base": Size(120, (96, 128, *[168] * 7, 336, 336), (1, 2, 9)),
    "large": Size(144, (128, 192, *[256] * 8, 360, 360), (1, 2, 10)),
}
HEADS = ("linear", "kan")
_PUBLISHED_SIZES = ("tiny", "small", "base", "large")

# Suffix of the kind -> name; published names are kagrdnet_<size>.
_NAMES = {
    "": "rdnet",
    "kan": "kardnet",
    "fastkan": "fast_kardnet",
    "kaln": "kalrdnet",
    "kacn": "kacrdnet",
    "kagn": "kagrdnet",
    "kajn": "kajrdnet",
    "kabn": "kabrdnet",
    "relukan": "relu_kardnet",
    "wavkan": "wav_kardnet",
    "fourierkan": "fourier_kardnet",
    "polykan": "poly_kardnet",
    "grkan": "gr_kardnet",
    "svkan": "sv_kardnet",
    "kagn_bn": "kagrdnet_bn",
    "moe_kagn_bn": "moe_kagrdnet_bn",
}
_LEGACY = Option("legacy", bool, False, "what published weights need: depthwise kernels that read "
                 "other channels, and a stem in a bottleneck of degree 3")  # fmt: skip
PUBLISHED: dict[str, dict[str, Any]] = {
    f"kagrdnet_{size}": {"legacy": True, "layer_scale": 1e-6, "scale": "none", "reduction": 4.0}
    for size in _PUBLISHED_SIZES
}


def _options(kind: str | None, form: str, size: str) -> list[Option]:
    heads = HEADS[:1] if kind is None else HEADS
    layers = [
        replace(option, default="layer") if option.name == "norm" else option
        for option in kind_options(kind, form)
    ]
    return [
        NDIM,
        Option("size", str, size, "channels and number of the stages", choices=tuple(SIZES)),
        Option("width_scale", float, 1.0, "factor on the channels", minimum=0.01,
               is_width=True),
        Option("blocks", int, 3, "of every stage", minimum=1),
        Option("patch_size", int, 4, "kernel and stride of the stem", minimum=1),
        Option("head", str, "linear", "classifier", choices=heads),
        DROPOUT,
        Option("dropout_linear", float, 0.0, "of features, before the head", 0, 1),
        Option("drop_path", float, 0.0, "of the last block; it grows from 0 at the first", 0, 1),
        Option("layer_scale", float, 1.0, "initial factor of what a block adds", minimum=0),
        Option("attention", bool, False, "self-attention at the end of every stage"),
        Option("sa_inner_projection", int | None, None, "attention on C // this channels",
               minimum=1),
        *([_LEGACY] if kind == "gram" else []),
        *layers,
    ]  # fmt: skip


def _row(name: str, kind: str | None, form: str, size: str) -> Entry:
    return Entry(
        name,
        "models.rdnet:build_rdnet",
        _options(kind, form, size),
        basis_of(kind),
        {"kind": kind},
    )


ROWS = (
    *(_row(_NAMES[suffix], *of, "tiny") for suffix, of in KINDS_BY_SUFFIX.items()),
    *(_row(f"kagrdnet_{size}", "gram", "bottleneck", size) for size in _PUBLISHED_SIZES),
)
