"""U2-networks of every kind of layer, for segmentation, and their plain twins.

Published default -> default here, where they differ: norm instance -> the family's, scale none ->
unit. `PUBLISHED` has what makes a network exactly the published one; in the plain ones dropout was
of single values, here of channels.
"""

from __future__ import annotations

from typing import Any

from models.entry import Entry
from models.kinds import basis_of, kind_options
from models.options import Option
from models.rows.common import (
    DROPOUT,
    GROUPS,
    KINDS_BY_SUFFIX,
    NDIM,
    PUBLISHED_LAYERS,
    network_name,
)

# Size -> channels inside and behind every block: of six encoder stages, and of five decoder stages
# from the smallest map.
SIZES = {
    "full": (
        ((8, 16), (8, 32), (16, 64), (32, 128), (64, 128), (64, 128)),
        ((64, 128), (32, 64), (16, 32), (8, 16), (4, 16)),
    ),
    "small": (((4, 16),) * 6, ((4, 16),) * 5),
}
DEPTHS = (7, 6, 5, 4, 4, 4)
POOLED = 4  # stages whose blocks have pools; the others have dilations in their place


def _options(kind: str | None, form: str, size: str) -> list[Option]:
    return [
        NDIM,
        Option("size", str, size, "channels of the blocks", choices=tuple(SIZES)),
        Option("width_scale", float, 1.0, "factor on the channels", minimum=0.01, is_width=True),
        Option("depths", tuple[int, int, int, int, int, int], DEPTHS, "levels of the blocks of the "
               "six stages; the first four halve their maps depth - 2 times", minimum=2),
        Option("stem_kernel", int, 3, "kernel of the first convolution", choices=(1, 3)),
        Option("deep_supervision", bool, True, "give the logits of every stage in training, too"),
        GROUPS,
        DROPOUT,
        *kind_options(kind, form),
    ]  # fmt: skip


def _entry(suffix: str, size: str) -> Entry:
    kind, form = KINDS_BY_SUFFIX[suffix]
    return Entry(
        _name(suffix, size),
        "models.u2net:build_u2net",
        _options(kind, form, size),
        basis_of(kind),
        {"kind": kind},
        task="segmentation",
    )


def _name(suffix: str, size: str) -> str:
    return network_name("u2", suffix) + ("_small" if size == "small" else "")


def _as_published(suffix: str, size: str) -> dict[str, Any]:
    kind, form = KINDS_BY_SUFFIX[suffix]
    if kind is None:
        return {}
    pointwise = {"stem_kernel": 1} if (form, size) == ("bottleneck", "small") else {}
    return {"scale": "none", **PUBLISHED_LAYERS.get(kind, {}), **pointwise}


_PUBLISHED = ("", "kan", "fastkan", "kaln", "kacn", "kagn", "kagn_bn")
# Published name -> options that make exactly its network, which its weights fit.
PUBLISHED = {
    _name(suffix, size): _as_published(suffix, size) for suffix in _PUBLISHED for size in SIZES
}
ROWS = tuple(_entry(suffix, size) for size in SIZES for suffix in KINDS_BY_SUFFIX)
