"""Residual networks of KAN convolutions, and their plain twin.

A name for every kind of layer takes any `depth`; the published names are the same networks with
other defaults: depth, stem, dropout, and the wide stem of the mixtures are the published ones.
PUBLISHED holds what else a published network was made with, where the default here is another:
norm batch (layer where a mixture holds whole convolutions), affine true and scale unit, as in
models.rows.vggkan.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from models.entry import Entry
from models.kinds import basis_of, kind_options
from models.options import Option
from models.rows.common import (
    KINDS_BY_SUFFIX,
    NDIM,
    PUBLISHED_LAYERS,
    network_name,
    stem_options,
    with_defaults,
)

# Depth -> convolutions of a block, and blocks of the four stages.
DEPTHS: dict[int, tuple[str, tuple[int, int, int, int]]] = {
    18: ("basic", (2, 2, 2, 2)),
    34: ("basic", (3, 4, 6, 3)),
    50: ("bottleneck", (3, 4, 6, 3)),
    101: ("bottleneck", (3, 4, 23, 3)),
    152: ("bottleneck", (3, 8, 36, 3)),
}
# Kernel and stride of the stem, and whether a pool follows it.
_SMALL, _POOLED, _LARGE = (3, 1, False), (3, 1, True), (7, 2, True)
_KINDS = {**KINDS_BY_SUFFIX, "moe_kaln": ("legendre", "experts")}
_GRAM_MIXTURES = ("gram", "bottleneck_experts")


class _Row(NamedTuple):
    """A published network: its layers, depth and stem; norms are norm, stem_norm and affine."""

    suffix: str
    depth: int
    stem: tuple[int, int, bool]
    norms: tuple[str, str, bool]


_BATCH = ("batch", "batch", False)
_IN_STEM = ("batch", "instance", False)
_INSTANCE = ("instance", "instance", False)
_AFFINE = ("instance", "instance", True)
_ROWS = {
    "reskanet_18x32p": _Row("kan", 18, _SMALL, _IN_STEM),
    "fast_reskanet_18x32p": _Row("fastkan", 18, _SMALL, _IN_STEM),
    "reskalnet_18x32p": _Row("kaln", 18, _SMALL, _IN_STEM),
    "reskacnet_18x32p": _Row("kacn", 18, _SMALL, _IN_STEM),
    "reskagnet_18x32p": _Row("kagn", 18, _SMALL, _BATCH),
    "reskagnetbn_18x32p": _Row("kagn_bn", 18, _SMALL, _BATCH),
    "reskagnetbn_moe_18x32p": _Row("moe_kagn_bn", 18, _SMALL, _IN_STEM),
    "reskagnet_34x32p": _Row("kagn", 34, _SMALL, _BATCH),
    "reskagnetbn_34x32p": _Row("kagn_bn", 34, _SMALL, _BATCH),
    "reskagnetbn_moe_34x32p": _Row("moe_kagn_bn", 34, _SMALL, _IN_STEM),
    "reskalnet_18x64p": _Row("kaln", 18, _POOLED, _IN_STEM),
    "moe_reskalnet_18x64p": _Row("moe_kaln", 18, _POOLED, _INSTANCE),
    "reskagnet18": _Row("kagn", 18, _LARGE, _INSTANCE),
    "reskalnet_50x64p": _Row("kaln", 50, _POOLED, _IN_STEM),
    "moe_reskalnet_50x64p": _Row("moe_kaln", 50, _POOLED, _INSTANCE),
    "reskagnet50": _Row("kagn", 50, _LARGE, _AFFINE),
    "reskagnet_bn50": _Row("kagn_bn", 50, _LARGE, _AFFINE),
    "reskalnet_101x32p": _Row("kaln", 101, _SMALL, _IN_STEM),
    "reskalnet_101x64p": _Row("kaln", 101, _POOLED, _IN_STEM),
    "moe_reskalnet_101x64p": _Row("moe_kaln", 101, _POOLED, _INSTANCE),
    "reskagnet_101x64p": _Row("kagn", 101, _POOLED, _BATCH),
    "reskagnet101": _Row("kagn", 101, _LARGE, _AFFINE),
    "reskalnet_152x32p": _Row("kaln", 152, _SMALL, _IN_STEM),
    "reskalnet_152x64p": _Row("kaln", 152, _POOLED, _IN_STEM),
    "moe_reskalnet_152x64p": _Row("moe_kaln", 152, _POOLED, _INSTANCE),
    "reskagnet152": _Row("kagn", 152, _LARGE, _AFFINE),
}


# Of residual stages, whatever stands before and behind them.
STAGES = (
    NDIM,
    Option("depth", int, 18, "published layers: 18 and 34 in blocks of two, 50 and more in blocks "
           "of three", choices=tuple(DEPTHS)),
    Option("blocks", tuple[int, int, int, int] | None, None, "of the four stages; null: those of "
           "the depth", minimum=1),
    Option("width_scale", float, 1.0, "factor on 8, 16, 32 and 64 channels", minimum=0.01,
           is_width=True),
    Option("base_width", int | None, None, "channels of the 3x3 in blocks of three, in 64ths of "
           "the stage's; null: 64", minimum=1),
    Option("groups", int, 1, "groups of the 3x3 convolutions, which are as many times wider in "
           "blocks of three", minimum=1),
)  # fmt: skip


def _options(kind: str | None, form: str) -> list[Option]:
    options = [
        *STAGES,
        *stem_options(_SMALL),
        Option("stem_width", int, 8, "channels of the first convolution, times width_scale",
               minimum=1),
        Option("dropout", float, 0.0, "of channels, in every layer but the first", 0, 1),
        Option("dropout_linear", float, 0.25, "of features, before the classifier", 0, 1),
    ]  # fmt: skip
    if (kind, form) == _GRAM_MIXTURES:
        text = "1x1 convolutions as in the published mixture: Legendre polynomials of x scaled by "
        text += "the extremes of the batch, and an instance norm"
        options.append(Option("legacy_pointwise", bool, False, text))
    return [*options, *kind_options(kind, form)]


def _entry(name: str, suffix: str, **defaults: Any) -> Entry:
    kind, form = _KINDS[suffix]
    if "experts" in form:
        defaults["stem_width"] = 16
    options = with_defaults(_options(kind, form), defaults)
    return Entry(name, "models.reskanet:build_reskanet", options, basis_of(kind), {"kind": kind})


def _published_entry(name: str, row: _Row) -> Entry:
    keys = ("stem_kernel", "stem_stride", "stem_pool")
    defaults: dict[str, Any] = {"depth": row.depth, **dict(zip(keys, row.stem, strict=True))}
    defaults["dropout"] = 0.0 if DEPTHS[row.depth][0] == "basic" else 0.15
    return _entry(name, row.suffix, **defaults)


def _as_published(row: _Row) -> dict[str, Any]:
    kind, form = _KINDS[row.suffix]
    norms = dict(zip(("norm", "stem_norm", "affine"), row.norms, strict=True))
    legacy = {"legacy_pointwise": True} if (kind, form) == _GRAM_MIXTURES else {}
    return {**norms, "scale": "none", **PUBLISHED_LAYERS.get(kind or "", {}), **legacy}


# Published name -> options that make exactly its network, which its weights fit.
PUBLISHED = {name: _as_published(row) for name, row in _ROWS.items()}
ROWS = (
    *(_entry(network_name("res", suffix), suffix) for suffix in KINDS_BY_SUFFIX),
    *(_published_entry(name, row) for name, row in _ROWS.items()),
)
