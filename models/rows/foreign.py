"""Networks of timm and torchvision by name, with their own classifier or a KAN in its place.

`PUBLISHED` has what vision_kansformer's network on MNIST is: ResNet-34 and a KAN of splines on
grids that adapt, 512 -> 64 -> classes.
"""

from __future__ import annotations

from typing import Any

from models.entry import Entry
from models.kinds import KINDS
from models.options import Option

LIBRARIES = ("timm", "torchvision")
STEMS = ("own", "small")
# Kinds of KAN heads; efficient: splines on a grid that follows the data, as in efficient-kan.
HEAD_KINDS = (*KINDS, "efficient")

PUBLISHED: dict[str, dict[str, Any]] = {
    "timm": {
        "architecture": "resnet34",
        "head": "kan",
        "head_kind": "efficient",
        "head_sizes": (64,),
    }
}

HEAD = (
    Option("head", str, "linear", "classifier", choices=("linear", "kan")),
    Option("head_kind", str, "gram", "functions of a kan head; efficient: splines on a grid that "
           "adapts to the data", choices=HEAD_KINDS),
    Option("head_sizes", tuple[int, ...] | None, None, "hidden channels of a kan head; null: none",
           minimum=1),
    Option("head_degree", int | None, None, "of the polynomials of a kan head; null: 3",
           minimum=1),
    Option("head_grid_size", int | None, None, "of a kan head of splines or radial functions",
           minimum=1),
    Option("head_spline_order", int | None, None, "of a kan head of splines", minimum=0),
    Option("dropout_linear", float, 0.0, "of features, before the head", 0, 1),
)  # fmt: skip
LOADING = (
    Option("pretrained", bool, False, "load published weights, from the net if need be"),
    Option("stem", str, "own", "small: the first convolution 3x3 of stride 1 and no pool behind "
           "it, for images of 64x64 or less", choices=STEMS),
)  # fmt: skip
_OF_TIMM = (
    Option("image_size", int | None, None, "side of the images, where a network must be told",
           minimum=1),
    Option("drop_path", float | None, None, "of the last block; null: the network's own", 0, 1),
)  # fmt: skip


def _row(library: str) -> Entry:
    architecture = Option("architecture", str, "resnet18", f"any classifier of {library}")
    more = _OF_TIMM if library == "timm" else ()
    return Entry(
        library,
        "models.foreign:build_foreign",
        (architecture, *LOADING, *more, *HEAD),
        arguments={"library": library},
    )


ROWS = tuple(_row(library) for library in LIBRARIES)
