"""Bases by name."""

from __future__ import annotations

import inspect
from typing import Any

from conv_kan.bases.base import Basis
from conv_kan.bases.bernstein import Bernstein
from conv_kan.bases.bspline import BSpline
from conv_kan.bases.chebyshev import Chebyshev
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
from conv_kan.ops.maths.checks import check_choice

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
    "create_basis",
    "list_bases",
]

BASES: dict[str, type[Basis]] = {
    "bernstein": Bernstein,
    "bspline": BSpline,
    "chebyshev": Chebyshev,
    "fourier": Fourier,
    "gram": Gram,
    "jacobi": Jacobi,
    "legendre": Legendre,
    "monomial": Monomial,
    "rational": Rational,
    "rbf": RBF,
    "relu": ReLU,
    "shared_spline": SharedSpline,
    "wavelet": Wavelet,
}


def list_bases() -> list[str]:
    """The names of the bases, sorted."""
    return sorted(BASES)


def basis_options(name: str) -> dict[str, Any]:
    """The arguments of the basis called `name` and their defaults."""
    parameters = inspect.signature(BASES[check_choice("basis", name, BASES)]).parameters
    return {option: parameter.default for option, parameter in parameters.items()}


def create_basis(name: str, **options: Any) -> Basis:
    """Make the basis called `name`, for example create_basis("gram", degree=3).

    Raises: ValueError for an unknown name or option -> the nearest one; what the basis raises.
    """
    known = basis_options(name)
    for option in options:
        check_choice(f"option of basis {name!r}", option, known)
    return BASES[name](**options)
