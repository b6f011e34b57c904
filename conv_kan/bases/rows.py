"""The bases as rows: where a class is, and its arguments with their defaults.

Reading a row loads no torch; tests/conv_kan/test_bases_rows.py compares rows with constructors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from conv_kan.names import SQUASHES


@dataclass(frozen=True)
class Row:
    """A basis: `module` and name of the class, its arguments and defaults, its squashes."""

    cls: str
    module: str
    options: Mapping[str, Any]
    squashes: tuple[str, ...]


def _row(path: str, *, squash: str, squashes: tuple[str, ...] = SQUASHES, **arguments: Any) -> Row:
    """A row from "module:class". The arguments of every basis end in squash and scale."""
    module, _, cls = path.partition(":")
    options = {**arguments, "squash": squash, "scale": "unit"}
    return Row(cls, f"conv_kan.bases.{module}", options, squashes)


# What published weights of some polynomials need.
_LEGACY = (*SQUASHES, "minmax")

ROWS: dict[str, Row] = {
    "bernstein": _row("bernstein:Bernstein", degree=3, squash="sigmoid"),
    "bspline": _row(
        "bspline:BSpline", grid_size=5, spline_order=3, grid_range=(-1.0, 1.0), squash="none"
    ),
    "chebyshev": _row("chebyshev:Chebyshev", degree=3, squash="tanh", squashes=_LEGACY),
    "fourier": _row("fourier:Fourier", num_frequencies=3, constant=True, squash="none"),
    "gram": _row("gram:Gram", degree=3, outer="silu", squash="tanh"),
    "jacobi": _row("jacobi:Jacobi", degree=3, a=1.0, b=1.0, squash="tanh"),
    "legendre": _row("legendre:Legendre", degree=3, squash="tanh", squashes=_LEGACY),
    "monomial": _row("monomial:Monomial", degree=3, squash="tanh"),
    "rational": _row("rational:Rational", num_groups=1, init="swish", squash="none"),
    "rbf": _row("rbf:RBF", grid_size=8, grid_range=(-2.0, 2.0), squash="none"),
    "relu": _row("relu:ReLU", g=5, k=3, train_phases=True, squash="none"),
    "shared_spline": _row(
        "shared_spline:SharedSpline",
        grid_size=8,
        spline_order=3,
        grid_range=(-4.0, 4.0),
        squash="none",
    ),
    "wavelet": _row("wavelet:Wavelet", wavelet="mexican_hat", num_wavelets=4, squash="none"),
}
