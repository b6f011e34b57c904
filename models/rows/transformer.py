"""Vision transformers whose feed-forwards have learned functions, and their plain twin.

vit takes any feed-forward; kat, kan_deit and kit are the same with those of the published networks,
and the published names have their sizes, too.
"""

from __future__ import annotations

from typing import Any

from models.entry import Entry
from models.kinds import KINDS
from models.options import Option
from models.rows.common import with_defaults
from models.rows.foreign import HEAD

# Feed-forward -> the options that it has.
FEED_FORWARDS: dict[str, tuple[str, ...]] = {
    "mlp": (),
    "kat": ("activation", "groups"),
    "efficient": ("base", "grid_size", "spline_order"),
    **{
        name: tuple(
            option
            for option in ("base", "degree", "grid_size", "spline_order")
            if option == "base" or option in kind.basis_defaults
        )
        for name, kind in KINDS.items()
        if kind.family
    },
}
INITS = ("variance", "published")
_PUBLISHED_SIZES = ("tiny", "small", "base")  # of KAT and KAN-DeiT
_SIZES = {
    "tiny": (192, 12, 3),
    "small": (384, 12, 6),
    "base": (768, 12, 12),
    "large": (1024, 24, 16),
    "huge": (1280, 32, 16),
}

_OPTIONS = (
    Option("feed_forward", str, "mlp", "behind the attention; kat: two rational functions and two "
           "linear layers; else one or two layers of functions", choices=tuple(FEED_FORWARDS)),
    Option("expansion", float | None, 4.0, "hidden channels of the feed-forward, times width; null:"
           " one layer without", minimum=0, is_width=True),
    Option("activation", str | None, None, "what the second rational function of kat imitates at "
           "first; null: swish"),
    Option("groups", int | None, None, "of channels with a denominator each, in kat; null: 8",
           minimum=1),
    Option("degree", int | None, None, "of polynomials; null: 3", minimum=1),
    Option("grid_size", int | None, None, "of splines and radial functions", minimum=1),
    Option("spline_order", int | None, None, "of splines", minimum=0),
    Option("base", str | None, None, "activation of a linear branch beside the functions; null: "
           "none, of efficient silu"),
    Option("init", str, "variance", "of the feed-forward: what keeps the variance of its input, or "
           "as published", choices=INITS),
    Option("mimetic", bool, False, "attention begins near a multiple of the identity"),
    Option("image_size", int, 224, "side of the images", minimum=1),
    Option("patch_size", int, 16, "side of a patch; divides image_size", minimum=1),
    Option("width", int, 192, "channels of a token; heads divides it", minimum=1),
    Option("depth", int, 12, "blocks", minimum=1),
    Option("heads", int, 3, "of every attention", minimum=1),
    Option("pool", str, "token", "what the head reads: the class token, or the mean of the others",
           choices=("token", "avg")),
    Option("position", str, "all", "which tokens have a learned position", choices=("all",
           "patches")),
    Option("distilled", bool, False, "a second class token with a linear head of its own"),
    Option("layer_scale", float | None, None, "initial factor of every branch; null: none"),
    Option("pre_logits", int | None, None, "tanh features between the tokens and the head",
           minimum=1),
    Option("dropout", float, 0.0, "in feed-forwards and behind attention", 0, 1),
    Option("dropout_attention", float, 0.0, "of attention weights", 0, 1),
    Option("dropout_position", float, 0.0, "of the embedded patches", 0, 1),
    Option("drop_path", float, 0.0, "of the last block; it grows from 0", 0, 1),
    Option("grad_checkpointing", bool, False, "blocks compute in backward again what they would "
           "keep"),
    *HEAD,
)  # fmt: skip

_KAT = {"feed_forward": "kat", "mimetic": True}
_KAN_DEIT = {"feed_forward": "chebyshev", "degree": 8, "expansion": None, "position": "patches"}
_KIT = {
    "feed_forward": "efficient",
    "head": "kan",
    "head_kind": "efficient",
    "head_sizes": (64,),
}
_HIDDEN = 64  # hidden channels of kit, of every size


def _entry(name: str, **defaults: Any) -> Entry:
    options = with_defaults(_OPTIONS, defaults)
    return Entry(name, "models.transformer:build_transformer", options)


def _sized(name: str, size: str, family: dict[str, Any], **more: Any) -> Entry:
    width, depth, heads = _SIZES[size]
    sizes: dict[str, Any] = {"width": width, "depth": depth, "heads": heads}
    if family is _KIT:
        sizes["expansion"] = _HIDDEN / width
    return _entry(name, **{**family, **sizes, **more})


def _kits() -> list[Entry]:
    """The kansformers; those of ImageNet-21k have tanh features before the head."""
    rows = []
    for size, patch in (("base", 16), ("base", 32), ("large", 16), ("large", 32), ("huge", 14)):
        name, width = f"kit_{size}_patch{patch}_224", _SIZES[size][0]
        if (size, patch) not in (("large", 32), ("huge", 14)):
            rows.append(_sized(name, size, _KIT, patch_size=patch))
        rows.append(_sized(f"{name}_in21k", size, _KIT, patch_size=patch, pre_logits=width))
    return rows


# Published name -> options that make exactly its network, where the default here is another.
PUBLISHED: dict[str, dict[str, Any]] = {
    **{
        f"kat_{size}{suffix}_patch16_224": {"init": "published", **activation}
        for size in _PUBLISHED_SIZES
        for suffix, activation in (
            ("", {}),
            ("_swish", {}),
            ("_gelu", {"activation": "published_gelu"}),
        )
    },
    **{f"kan_deit_{size}_patch16_224": {"init": "published"} for size in _PUBLISHED_SIZES},
}
ROWS = (
    _entry("vit"),
    _entry("kat", **_KAT),
    _entry("kan_deit", **_KAN_DEIT),
    _entry("kit", **_KIT, expansion=_HIDDEN / 192),
    *(
        _sized(f"kat_{size}{suffix}_patch16_224", size, _KAT, activation=activation)
        for size in _PUBLISHED_SIZES
        for suffix, activation in (("", "swish"), ("_swish", "swish"), ("_gelu", "gelu"))
    ),
    *(_sized(f"kan_deit_{size}_patch16_224", size, _KAN_DEIT) for size in _PUBLISHED_SIZES),
    *_kits(),
)
