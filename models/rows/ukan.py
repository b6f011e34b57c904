"""U-KAN: convolutions down to an eighth, blocks of linear layers with functions below, and back.

ukan has layers of any kind in its blocks, efficient ones (splines on grids that adapt) by default,
as published; ukan_linear has plain linear layers in their places. In the published code depths,
dropout, image sizes, deep supervision and no_kan do nothing: here `blocks` may be more than one,
and the others are not there. Maps are halved for any size of image, rounding up.
"""

from __future__ import annotations

from models.entry import Entry
from models.kinds import KINDS
from models.options import Option
from models.rows.common import NDIM

_OPTIONS = (
    NDIM,
    Option("channels", tuple[int, int, int], (256, 320, 512), "of the last convolutional level, an "
           "eighth and a quarter of which the levels above have, and of the two levels of tokens",
           minimum=8),
    Option("width_scale", float, 1.0, "factor on the channels", minimum=0.01, is_width=True),
    Option("blocks", int, 1, "of every stage of tokens", minimum=1),
    Option("drop_path", float, 0.0, "of the last block below; it grows from 0", 0, 1),
)  # fmt: skip
_LAYERS = (
    Option("kind", str, "efficient", "functions of the linear layers; efficient: splines on a grid "
           "that adapts to the data", choices=(*KINDS, "efficient")),
    Option("degree", int | None, None, "of their polynomials; null: 3", minimum=1),
    Option("grid_size", int | None, None, "of their splines or radial functions", minimum=1),
    Option("spline_order", int | None, None, "of their splines", minimum=0),
)  # fmt: skip

_BUILD = "models.ukan:build_ukan"
ROWS = (
    Entry(
        "ukan", _BUILD, (*_OPTIONS, *_LAYERS), basis="that of its kind", task="segmentation",
    ),
    Entry(
        "ukan_linear", _BUILD, _OPTIONS, arguments={"kind": None}, task="segmentation",
    ),
)  # fmt: skip
