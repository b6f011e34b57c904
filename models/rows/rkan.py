"""RKAN: a side branch of one KAN kernel beside stages of a network of timm or torchvision.

Its plain twin has a convolution and a SiLU in the place of every KAN kernel. Kernels are so few
parameters that branches of any kind are of one size, to within 2 %.

Published default -> default here: times_input true -> false (its code multiplies every T_m(tanh x)
by x once more), scale none -> unit. `PUBLISHED` has what makes a branch exactly the published one,
up to a factor of every tap that its code learns beside the weights of the functions.
"""

from __future__ import annotations

from typing import Any

from conv_kan.names import ACTIVATIONS, BACKENDS, SCALES
from models.entry import Entry
from models.kinds import KINDS
from models.options import Option
from models.rows.foreign import HEAD, LIBRARIES, LOADING

PUBLISHED: dict[str, dict[str, Any]] = {"rkan": {"times_input": True, "scale": "none"}}

_BACKBONE = (
    Option("library", str, "timm", "where the backbone is from", choices=LIBRARIES),
    Option("backbone", str, "resnet34", "any classifier of the library that has stages"),
    Option("stages", tuple[int, ...], (4,), "which have a branch, counted from 1", minimum=1),
    Option("reduction", float, 1.0, "of the channels inside a branch", minimum=1),
)
_KERNEL = (
    Option("kind", str, "chebyshev", "functions of the kernel", choices=tuple(KINDS)),
    Option("degree", int | None, None, "of its polynomials; null: 3", minimum=1),
    Option("grid_size", int | None, None, "of its splines or radial functions", minimum=1),
    Option("spline_order", int | None, None, "of its splines", minimum=0),
    Option("base", str, "silu", "activation of the kernel's base branch; none: no such branch",
           choices=(*ACTIVATIONS, "none")),
    Option("times_input", bool, False, "multiply every function by the input once more"),
    Option("scale", str, "unit", "unit: E[sum phi^2] = 1 for x ~ N(0, 1); none: as published",
           choices=SCALES),
    Option("backend", str, "auto", "who computes the functions", choices=BACKENDS),
)  # fmt: skip

_BUILD = "models.rkan:build_rkan"
ROWS = (
    Entry(
        "rkan", _BUILD, (*_BACKBONE, *_KERNEL, *LOADING, *HEAD), basis="that of its kind",
        has_twins=True,
    ),
    Entry(
        "rkan_conv", _BUILD, (*_BACKBONE, *LOADING, *HEAD), arguments={"kind": None}, has_twins=True
    ),
)  # fmt: skip
