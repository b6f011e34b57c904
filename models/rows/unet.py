"""U-networks of every kind of layer, for segmentation, and their plain twins.

`..._18` are residual (UKANet): the blocks of models.rows.reskanet down and up again. The names
without a number (UKAGNet) have `layers` convolutions a level, and a mixer of positions where the
decoder joins two maps. Published default -> default here, where they differ: norm instance -> the
family's, scale none -> unit, `ukagnet` in bottlenecks -> plain (`ukagnet_bn`), whose reduction is
4 -> 8 in 3x3 layers, and `legacy` false. `PUBLISHED` has what makes a network exactly the
published one.
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
    with_defaults,
)
from models.rows.reskanet import STAGES

# Of published residual networks, the layers of all blocks but the first of each stage, whatever
# the network was told: kind and form -> options.
_ALONE = {"norm": "instance", "affine": False}
_GRID = {"grid_size": 5, "grid_range": (-1.0, 1.0)}
LATER_BLOCKS: dict[tuple[str | None, str], dict[str, Any]] = {
    ("bspline", "plain"): {"spline_order": 3, **_GRID, "base": "gelu", **_ALONE},
    ("rbf", "plain"): {**_GRID, "base": "silu", **_ALONE},
    ("legendre", "plain"): {"degree": 3, **_ALONE},
    ("chebyshev", "plain"): {"degree": 3, **_ALONE},
    ("gram", "plain"): {"degree": 3, **_ALONE},
    ("gram", "bottleneck"): {"degree": 3, "norm": "batch", "affine": True},
}
MIXERS = ("none", "attention", "focal")
# What focal modulation is told, and its defaults.
FOCAL: dict[str, Any] = {
    "focal_window": 3,
    "focal_level": 2,
    "focal_factor": 2,
    "focal_norm": True,
    "focal_normalize": True,
    "focal_full": True,
}


def _residual_options(kind: str | None, form: str) -> list[Option]:
    options = [*STAGES, DROPOUT]
    if (kind, form) in LATER_BLOCKS:
        text = "what published weights need: all blocks but the first of a stage ignore degree, "
        text += "grid, base, norm, affine and dropout, and have the published defaults"
        options.append(Option("legacy", bool, False, text))
    return [*options, *kind_options(kind, form)]


def _level_options(kind: str | None, form: str) -> list[Option]:
    options = [
        NDIM,
        Option("depth", int, 4, "levels of the encoder", minimum=2),
        Option("layers", int, 2, "convolutions of a level", minimum=1),
        Option("width_scale", float, 1.0, "factor on the 16 channels of the first level, which "
               "double at every next", minimum=0.01, is_width=True),
        GROUPS,
        DROPOUT,
        Option("mixer", str, "none", "of the positions of two joined maps: none, self-attention, "
               "or focal modulation", choices=MIXERS),
        Option("attention_channels", int | None, None, "channels that attention works on; null: "
               "those of the maps", minimum=1),
        Option("focal_window", int | None, None, "smallest kernel of focal modulation; null: 3",
               minimum=1),
        Option("focal_level", int | None, None, "its kernels; null: 2", minimum=1),
        Option("focal_factor", int | None, None, "by which they grow; null: 2", minimum=0),
        Option("focal_norm", bool | None, None, "a norm before its last layer; null: true"),
        Option("focal_normalize", bool | None, None, "divide its context by the number of levels; "
               "null: true"),
        Option("focal_full", bool | None, None, "its pointwise layers have functions, too; null: "
               "true"),
    ]  # fmt: skip
    if kind == "gram":
        text = "what published weights of focal modulation need: depthwise kernels that read "
        options.append(Option("legacy", bool, False, text + "other channels"))
    return [*options, *kind_options(kind, form)]


def _entry(name: str, suffix: str, residual: bool, **defaults: Any) -> Entry:
    kind, form = KINDS_BY_SUFFIX[suffix]
    make, build = (
        (_residual_options, "models.unet:build_residual_unet")
        if residual
        else (_level_options, "models.unet:build_unet")
    )
    return Entry(
        name,
        build,
        with_defaults(make(kind, form), defaults),
        basis_of(kind),
        {"kind": kind},
        task="segmentation",
    )


def _residual_name(suffix: str, depth: int) -> str:
    return "ukagnetnb_18" if suffix == "kagn_bn" else f"{network_name('u', suffix)}_{depth}"


# Published name -> suffix of its kind.
_RESIDUAL = {
    _residual_name(suffix, 18): suffix
    for suffix in ("kan", "fastkan", "kaln", "kacn", "kagn", "kagn_bn")
}
# Published name -> options that make exactly its network, which its weights fit.
PUBLISHED: dict[str, dict[str, Any]] = {
    **{
        name: {
            "legacy": True,
            "scale": "none",
            **PUBLISHED_LAYERS.get(KINDS_BY_SUFFIX[suffix][0] or "", {}),
        }
        for name, suffix in _RESIDUAL.items()
    },
    "ukagnet": {"legacy": True, "scale": "none", "reduction": 4.0},
}
ROWS = (
    *(_entry(network_name("u", suffix), suffix, False) for suffix in KINDS_BY_SUFFIX),
    *(_entry(_residual_name(suffix, 18), suffix, True) for suffix in KINDS_BY_SUFFIX),
    *(
        _entry(_residual_name(suffix, depth), suffix, True, depth=depth)
        for suffix in ("", "kagn")
        for depth in (34, 50)
    ),
)
