"""Dense networks of KAN convolutions, and their plain twin.

A name for every kind of layer takes any `depth`, 35 by default, which is the published tiny one;
the published names are the same networks with another depth. PUBLISHED holds what else a published
network was made with, where the default here is another: norm batch and scale unit, as in
models.rows.vggkan, no gradient checkpointing, and one norm in a row where there were two.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from conv_kan.names import NORMS
from models.entry import Entry
from models.kinds import basis_of, kind_options
from models.options import Option
from models.rows.common import (
    KINDS_BY_SUFFIX,
    NDIM,
    PUBLISHED_LAYERS,
    head_activation_options,
    network_name,
    stem_options,
    with_defaults,
)


class Depth(NamedTuple):
    """What a depth decides: layers of every block, what each adds, the stem, and the end.

    `stem` is kernel, stride, pool. With `ends_in_transition` one follows the last block, too, and
    the head is a KAN.
    """

    blocks: tuple[int, ...]
    growth_rate: int = 32
    stem: tuple[int, int, bool] = (7, 2, True)
    ends_in_transition: bool = False


DEPTHS = {
    35: Depth((5, 5, 5), stem=(5, 2, False), ends_in_transition=True),
    121: Depth((6, 12, 24, 16)),
    161: Depth((6, 12, 36, 24), growth_rate=48),
    169: Depth((6, 12, 32, 32)),
    201: Depth((6, 12, 48, 32)),
}
# Name -> suffix of the kind of its layers, and depth.
_TINY = {
    network_name("tiny_dense", suffix): (suffix, 35) for suffix in ("kan", "kaln", "kacn", "kagn")
}
_TINY |= {
    "tiny_fast_densekanet": ("fastkan", 35),
    "tiny_densekagnet_bn": ("kagn_bn", 35),
    "tiny_densekagnet_moebn": ("moe_kagn_bn", 35),
}
_LARGE = {
    "densekanet121": ("kan", 121),
    "fast_densekanet121": ("fastkan", 121),
    "densekacnet121": ("kacn", 121),
}
for _depth in (121, 161, 169, 201):
    _LARGE |= {
        f"densekalnet{_depth}": ("kaln", _depth),
        f"densekagnet{_depth}": ("kagn", _depth),
        f"densekagnet{_depth}bn": ("kagn_bn", _depth),
        f"densekagnet{_depth}moebn": ("moe_kagn_bn", _depth),
    }


def _options(kind: str | None, form: str) -> list[Option]:
    heads = ("linear",) if kind is None else ("linear", "kan")
    return [
        NDIM,
        Option("depth", int, 35, "published layers; 35 is the tiny network", choices=tuple(DEPTHS)),
        Option("block_config", tuple[int, ...] | None, None, "layers of every block; null: those "
               "of the depth", minimum=1),
        Option("width_scale", float, 1.0, "factor on growth_rate and num_init_features",
               minimum=0.01, is_width=True),
        Option("growth_rate", int | None, None, "channels that a layer adds; null: 48 for depth "
               "161, else 32", minimum=1),
        Option("bn_size", int, 4, "channels between the two convolutions of a layer, in multiples "
               "of growth_rate", minimum=1),
        *stem_options(None),
        Option("num_init_features", int, 64, "channels of the first convolution", minimum=1),
        Option("transition_norm", str | None, None, "norm between blocks; null: batch, or none "
               "where layers end in their own, which a second one would leave without effect",
               choices=(*NORMS, "none")),
        Option("head", str | None, None, "classifier; null: kan for depth 35 (linear in the plain "
               "twin), else linear", choices=heads),
        Option("groups", int, 1, "groups of the 3x3 convolutions", minimum=1),
        Option("dropout", float, 0.0, "of channels, in the 3x3 convolutions", 0, 1),
        Option("dropout_linear", float, 0.0, "of features, before the classifier", 0, 1),
        Option("grad_checkpointing", bool, False, "compute in backward again what 1x1 convolutions "
               "read and write, instead of keeping it: less memory, more time"),
        *head_activation_options(kind),
        *kind_options(kind, form),
    ]  # fmt: skip


def _entry(name: str, suffix: str, **defaults: Any) -> Entry:
    kind, form = KINDS_BY_SUFFIX[suffix]
    options = with_defaults(_options(kind, form), defaults)
    return Entry(
        name, "models.densekanet:build_densekanet", options, basis_of(kind), {"kind": kind}
    )


def _as_published(suffix: str, depth: int) -> dict[str, Any]:
    kind, form = KINDS_BY_SUFFIX[suffix]
    norm = "instance" if form == "plain" else "batch"
    layers = PUBLISHED_LAYERS.get(kind or "", {})
    tiny: dict[str, Any] = {}
    if depth == 35:
        tiny["grad_checkpointing"] = "experts" not in form
        if kind == "rbf":  # whose head has the convolutions' base
            tiny["head_activation"] = layers["base"]
    return {"norm": norm, "transition_norm": "batch", "scale": "none", **layers, **tiny}


# Published name -> options that make exactly its network, which its weights fit.
PUBLISHED = {name: _as_published(*row) for name, row in (_TINY | _LARGE).items()}
ROWS = (
    *(_entry(network_name("dense", suffix), suffix) for suffix in KINDS_BY_SUFFIX),
    *(_entry(name, suffix, depth=depth) for name, (suffix, depth) in (_TINY | _LARGE).items()),
)
