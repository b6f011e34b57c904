"""Two small networks with rational activations, the examples of rational_kat_cu, and plain twins.

A perceptron of one hidden layer for images of one size, and two convolutions of 3x3 with a maximum
over 2x2 behind each and a hidden linear layer.
"""

from __future__ import annotations

from typing import Any

from conv_kan.bases.rational_init import RATIONALS
from models.entry import Entry
from models.options import Option

_RATIONAL = [
    Option("init", str, "gelu", "the function that rational activations imitate at first; "
           "published_gelu: as published", choices=tuple(RATIONALS)),
    Option("groups", int, 8, "of channels with a denominator each", minimum=1),
]  # fmt: skip
_HIDDEN = Option("hidden", int, 256, "features of the hidden linear layer", minimum=1,
                 is_width=True)  # fmt: skip
_MLP = [Option("image_size", int, 28, "side of the images", minimum=1), _HIDDEN]
_CNN = [
    Option("layer_sizes", tuple[int, int], (64, 128), "channels of the convolutions", minimum=1,
           is_width=True),
    Option("hidden", int, 256, "features of the hidden linear layer", minimum=1),
    Option("feature_size", int, 8, "side of the maps that it reads, averaged to it", minimum=1),
]  # fmt: skip


def _entry(name: str, build: str, options: list[Option], activation: str | None) -> Entry:
    """activation: the default of a twin; None: rational."""
    own = _RATIONAL
    if activation is not None:
        own = [
            Option(
                "activation",
                str,
                activation,
                "between the layers",
                choices=("relu", "gelu", "silu"),
            )
        ]
    basis: dict[str, Any] = {"basis": "rational"} if activation is None else {}
    return Entry(name, f"models.rational:{build}", [*options, *own], **basis)


ROWS = (
    _entry("rational_mlp", "build_mlp", _MLP, None),
    _entry("mlp", "build_mlp", _MLP, "gelu"),
    _entry("rational_cnn", "build_cnn", _CNN, None),
    _entry("cnn", "build_cnn", _CNN, "relu"),
)
