"""Bases by name. Their options are known without torch, which comes with the first class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from conv_kan.bases.rows import ROWS
from conv_kan.lazy import lazy_names
from conv_kan.ops.maths.checks import check_choice, near_names

if TYPE_CHECKING:
    from conv_kan.bases.base import Basis
    from conv_kan.bases.bernstein import Bernstein
    from conv_kan.bases.bspline import BSpline
    from conv_kan.bases.chebyshev import Chebyshev
    from conv_kan.bases.classes import BASES
    from conv_kan.bases.fourier import Fourier
    from conv_kan.bases.gram import Gram
    from conv_kan.bases.jacobi import Jacobi
    from conv_kan.bases.legendre import Legendre
    from conv_kan.bases.monomial import Monomial
    from conv_kan.bases.rational import Rational
    from conv_kan.bases.rbf import RBF
    from conv_kan.bases.relu import ReLU
    from conv_kan.bases.shared_spline import SharedSpline
    from conv_kan.bases.wavelet import Wavelet
else:
    _ORIGINS = {"BASES": "conv_kan.bases.classes", "Basis": "conv_kan.bases.base"}
    _ORIGINS |= {row.cls: row.module for row in ROWS.values()}
    __getattr__, __dir__ = lazy_names(__name__, _ORIGINS)

__all__ = [
    "BASES",
    "RBF",
    "BSpline",
    "Basis",
    "Bernstein",
    "Chebyshev",
    "Fourier",
    "Gram",
    "Jacobi",
    "Legendre",
    "Monomial",
    "Rational",
    "ReLU",
    "SharedSpline",
    "Wavelet",
    "basis_options",
    "basis_squashes",
    "create_basis",
    "list_bases",
]


def list_bases() -> list[str]:
    """The names of the bases, sorted."""
    return sorted(ROWS)


def basis_options(name: str) -> dict[str, Any]:
    """The arguments of the basis called `name` and their defaults."""
    return dict(ROWS[check_choice("basis", name, ROWS)].options)


def basis_squashes(name: str) -> tuple[str, ...]:
    """What the basis called `name` may be given as `squash`."""
    return ROWS[check_choice("basis", name, ROWS)].squashes


def _unknown(name: str, option: str) -> str:
    """Say that a basis has no such option: what it has, and which bases have that."""
    own = ROWS[name].options
    near = near_names(option, own)
    owners = [other for other, row in ROWS.items() if option in row.options]
    hint = f"; did you mean {near[0]!r}?" if near else "."
    elsewhere = f" It is an option of {', '.join(owners)}." if owners else ""
    return f"basis {name!r} has no option {option!r}{hint}{elsewhere} It has {', '.join(own)}."


def create_basis(name: str, **options: Any) -> Basis:
    """Make the basis called `name`, for example create_basis("gram", degree=3).

    Raises: ValueError for an unknown name or option -> the nearest one; what the basis raises.
    """
    from conv_kan.bases.classes import BASES  # here: it loads torch

    known = basis_options(name)
    for option in options:
        if option not in known:
            raise ValueError(_unknown(name, option))
    return BASES[name](**options)
