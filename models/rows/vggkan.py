"""VGG networks of KAN convolutions, and their plain twin.

Published default -> default here, where they differ: norm instance -> the family's ("batch";
"layer" where a mixture holds whole convolutions), affine False -> True, feature_shape (7, 7) ->
(1, 1), scale none -> unit. The published ones were chosen for images of 224x224; at 32x32 an
instance norm sees maps of 2x2 or less, and a 7x7 average of those repeats every feature 49 times.
PUBLISHED holds what makes a network exactly the published one, and models.published has them by
their own calls. KAN heads are the published ones with head_activation="gelu" (vggkan and
fast_vggkan: the same as base); published weights are refused by any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from models.entry import Entry
from models.kinds import basis_of, kind_options
from models.options import Option
from models.rows.common import (
    DROPOUT,
    GROUPS,
    KAN_HEADS,
    KINDS_BY_SUFFIX,
    LINEAR_HEADS,
    NDIM,
    PUBLISHED_LAYERS,
    head_activation_options,
)

_BASE = {
    "VGG11": "16 M 32 M 64 64 M 128 128 M 128 128",
    "VGG13": "16 16 M 32 32 M 64 64 M 128 128 M 128 128",
    "VGG16": "16 16 M 32 32 M 64 64 64 M 128 128 128 M 128 128 128",
    "VGG19": "16 16 M 32 32 M 64 64 64 64 M 128 128 128 128 M 128 128 128 128",
}
_ENDINGS = {"": "", "v2": " M 128 128", "v3": " M 128 256", "v4": " M 256 256"}
# Which pools, counted from 0, have a self-attention before them.
_ATTENTION = {"sa": ("", (2, 3)), "v4sa": ("v4", (3, 4))}

_KINDS = {**KINDS_BY_SUFFIX, "moe_kagn": ("gram", "experts")}
# Names that do not follow the others.
_NAMES = {
    "fastkan": "fast_vggkan",
    "wavkan": "vgg_wav_kan",
    "moe_kagn": "moe_vggkagn",
    "moe_kagn_bn": "moe_vggkagn_bn",
}


def _size_tables() -> dict[str, tuple[str, ...]]:
    """Tokens of every vgg_type: channels of a convolution, M (pool), SA (self-attention)."""
    tables = {}
    for name, base in _BASE.items():
        for suffix, ending in _ENDINGS.items():
            tables[name + suffix] = tuple((base + ending).split())
        for suffix, (variant, pools) in _ATTENTION.items():
            tables[name + suffix] = _with_attention(tables[name + variant], pools)
    return tables


def _with_attention(tokens: Sequence[str], pools: Sequence[int]) -> tuple[str, ...]:
    result: list[str] = []
    for token in tokens:
        if token == "M" and result.count("M") in pools:
            result.append("SA")
        result.append(token)
    return tuple(result)


VGG_TYPES = _size_tables()


def _options(kind: str | None, form: str) -> list[Option]:
    heads = LINEAR_HEADS if kind is None else (*LINEAR_HEADS, *KAN_HEADS)
    return [
        NDIM,
        Option("vgg_type", str, "VGG11", "size table", choices=tuple(VGG_TYPES)),
        Option(
            "width_scale",
            float,
            1.0,
            "factor on the channels of the table",
            minimum=0.001,
            is_width=True,
        ),
        Option("head", str, "linear", "classifier", choices=heads),
        Option("feature_shape", tuple[int, ...], (1, 1), "of the averaged maps", minimum=1),
        GROUPS,
        DROPOUT,
        Option("dropout_linear", float, 0.25, "of features, in the head", 0, 1),
        Option("last_attention", bool, False, "attention in place of the last convolution"),
        Option(
            "sa_inner_projection", int | None, None, "attention on C // this channels", minimum=1
        ),
        *head_activation_options(kind),
        *kind_options(kind, form),
    ]


def _name(suffix: str) -> str:
    return _NAMES.get(suffix, "vgg" + suffix)


def _as_published(kind: str) -> dict[str, Any]:
    options = {"norm": "instance", "affine": False, "feature_shape": (7, 7)}
    scale = {} if kind == "wavelet" else {"scale": "none"}
    return {**options, **scale, **PUBLISHED_LAYERS.get(kind, {})}


_PUBLISHED = ("kan", "fastkan", "kaln", "kacn", "kagn", "wavkan", "kagn_bn", "moe_kagn",
              "moe_kagn_bn")  # fmt: skip
# Published name -> options that make exactly its network, which its weights fit.
PUBLISHED = {_name(suffix): _as_published(_KINDS[suffix][0] or "") for suffix in _PUBLISHED}
ROWS = tuple(
    Entry(
        _name(suffix),
        "models.vggkan:build_vgg",
        _options(kind, form),
        basis_of(kind),
        {"kind": kind},
    )
    for suffix, (kind, form) in _KINDS.items()
)
