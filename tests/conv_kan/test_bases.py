"""The functions themselves: values, scale, layout, precision, gradients, errors."""

import copy
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import torch
from oracle import ORDERS, shaped_basis

from conv_kan import Basis, create_basis, list_bases
from conv_kan.basis_table import TARGET, basis_table

BASES = list_bases()
SHAPES = {
    "gram": {"beta"},
    "rational": {"numerator", "denominator"},
    "relu": {"low", "high"},
    "shared_spline": {"coefficients"},
    "wavelet": {"translation", "dilation"},
}


def values(basis: Basis, x: torch.Tensor) -> torch.Tensor:
    """(N, K) of N numbers."""
    return basis(x.reshape(-1, 1))


def test_squash_is_applied_before_the_functions():
    x = torch.linspace(-3, 3, 13, dtype=torch.float64)
    for squash, function in (("tanh", torch.tanh), ("sigmoid", torch.sigmoid)):
        for name in BASES:
            squashed = create_basis(name, squash=squash, scale="none")
            plain = create_basis(name, squash="none", scale="none")
            torch.testing.assert_close(values(squashed, x), values(plain, function(x)))


STEPS = {"spline_order": 0}  # whose jumps quadrature sees less well


@pytest.mark.parametrize(
    ("name", "options"),
    [(name, {}) for name in BASES]
    + [(name, options) for name, options in ORDERS.items() if name != "rational"]
    + [("bspline", STEPS), ("shared_spline", STEPS), ("rational", {"init": "gelu"})],
)
def test_unit_scale_means_unit_energy(name, options):
    basis = create_basis(name, **options)
    quantiles = scipy.stats.norm.ppf((np.arange(100_000) + 0.5) / 100_000)
    phi = values(basis, torch.from_numpy(quantiles)).detach().numpy()
    assert (phi**2).sum(1).mean() == pytest.approx(1.0, abs=2e-3 if options is STEPS else 1e-4)
    assert basis.second_moment == 1.0
    plain = create_basis(name, **options, scale="none")
    assert plain.scale == 1.0
    assert plain.second_moment == pytest.approx(basis.scale**-2)


@pytest.mark.parametrize("name", BASES)
def test_layout_is_channel_major_and_constants_are_constant(name):
    basis = shaped_basis(name)
    x = torch.randn(2, 3, 4, 5)
    phi = basis(x)
    k = basis.num_functions
    assert phi.shape == (2, 3 * k, 4, 5)
    for c in range(3):
        torch.testing.assert_close(phi[:, c * k : (c + 1) * k], basis(x[:, c : c + 1]))
    varying = basis.functions(x, *basis.shape)
    assert len(varying) == k - len(basis.constants)
    for j in range(k):
        found = phi[:, j::k]
        if j in basis.constants:
            expected = torch.full_like(x, basis.scale * basis.constants[j])
        else:
            expected = basis.scale * varying[j - len(basis.constants)]
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("name", BASES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_gradients_are_finite_everywhere(name, dtype):
    torch.manual_seed(0)  # a steep rational leaves the range of float16 at 1e4
    basis = shaped_basis(name)
    if name != "rational":  # d F / d a_5 = x^5 / Q exceeds the range of float16
        basis = basis.to(dtype)
    # Knots of the splines and ends of the bumps are multiples of 0.2, centres of 4 / 7.
    knots = [m / 5 for m in range(-60, 61)] + [4 * m / 7 - 2 for m in range(8)]
    x = torch.tensor([[t] for t in (0.0, 1.0, -1.0, 1e4, -1e4, *knots)], dtype=dtype)
    x.requires_grad_()
    phi = basis(x)
    phi.float().sum().backward()
    assert phi.dtype == dtype
    assert phi.isfinite().all() and x.grad.isfinite().all()
    assert all(p.grad.isfinite().all() and p.grad.dtype == p.dtype for p in basis.parameters())


@pytest.mark.parametrize("name", BASES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_rounds_once(name, dtype):
    basis = create_basis(name).to(dtype)
    x = torch.randn(64, 2).to(dtype)
    exact = copy.deepcopy(basis).double()(x.double())
    assert all(f.dtype == torch.float32 for f in basis.functions(x, *basis.shape))
    error = (basis(x).double() - exact).abs()
    assert (error <= exact.abs() * torch.finfo(dtype).eps + 1e-6).all()


@pytest.mark.parametrize("name", BASES)
def test_one_sample_does_not_depend_on_the_others(name):
    basis, x = shaped_basis(name), torch.randn(5, 2, 3)
    torch.testing.assert_close(basis(x)[1:2], basis(x[1:2]), rtol=0, atol=0)


@pytest.mark.parametrize("name", BASES)
def test_extreme_input_is_finite_in_half_precision_after_squashing(name):
    basis = create_basis(name, squash="tanh")
    assert basis(torch.full((1, 1), 6e4, dtype=torch.float16)).isfinite().all()


@pytest.mark.parametrize(
    ("name", "options"),
    [(name, {}) for name in BASES]
    + [("bspline", {"spline_order": 0}), ("shared_spline", {"spline_order": 0})],
)
def test_nan_is_not_silent(name, options):
    basis = create_basis(name, **options)
    phi = values(basis, torch.tensor([float("nan"), 0.3]))
    assert phi[0, len(basis.constants) :].isnan().all() and phi[1].isfinite().all()


def test_registry_and_repr():
    assert list_bases() == sorted(BASES)
    assert repr(create_basis("gram", degree=4)) == (
        "Gram(degree=4, outer='silu', squash='tanh', scale='unit')"
    )
    assert "grid_range=(-2.0, 2.0)" in repr(create_basis("rbf"))
    for name in BASES:
        basis = create_basis(name)
        assert isinstance(basis, Basis)
        assert copy.deepcopy(basis).scale == basis.scale
        assert set(basis.state_dict()) == SHAPES.get(name, set())


def test_construction_on_the_meta_device_needs_no_values():
    with torch.device("meta"):
        for name in BASES:
            assert create_basis(name).scale == pytest.approx(create_basis(name).scale)


@pytest.mark.parametrize(
    ("name", "options", "error", "words"),
    [
        ("gramm", {}, ValueError, "did you mean 'gram'"),
        ("gram", {"degre": 3}, ValueError, "did you mean 'degree'"),
        ("gram", {"degree": 0}, ValueError, "at least 1"),
        ("gram", {"degree": 2.0}, TypeError, "must be an integer"),
        ("chebyshev", {"squash": "tan"}, ValueError, "did you mean 'tanh'"),
        ("legendre", {"scale": "units"}, ValueError, "did you mean 'unit'"),
        ("bspline", {"grid_size": 0}, ValueError, "at least 1"),
        ("bspline", {"spline_order": -1}, ValueError, "at least 0"),
        ("bspline", {"grid_range": (1, -1)}, ValueError, "increasing"),
        ("rbf", {"grid_size": 1}, ValueError, "at least 2"),
        ("rbf", {"grid_range": (1, 1)}, ValueError, "increasing"),
        ("bernstein", {"degree": 0}, ValueError, "at least 1"),
        ("fourier", {"num_frequencies": 0}, ValueError, "at least 1"),
        ("gram", {"outer": "silo"}, ValueError, "did you mean 'silu'"),
        ("jacobi", {"a": -1}, ValueError, "greater than -1"),
        ("jacobi", {"b": float("nan")}, ValueError, "greater than -1"),
        ("jacobi", {"squash": "minmax"}, ValueError, "unknown"),
        ("monomial", {"degree": 0}, ValueError, "at least 1"),
        ("rational", {"init": "geluu"}, ValueError, "did you mean 'gelu'"),
        ("rational", {"num_groups": 0}, ValueError, "at least 1"),
        ("relu", {"g": 0}, ValueError, "at least 1"),
        ("relu", {"k": -1}, ValueError, "at least 0"),
        ("shared_spline", {"grid_range": (1, 1)}, ValueError, "increasing"),
        ("wavelet", {"wavelet": "mexican"}, ValueError, "did you mean 'mexican_hat'"),
        ("wavelet", {"num_wavelets": 0}, ValueError, "at least 1"),
    ],
)
def test_errors_say_what_to_type(name, options, error, words):
    with pytest.raises(error, match=words):
        create_basis(name, **options)


def test_the_table_in_the_documentation_is_current():
    committed = Path(__file__).parent.parent.parent / TARGET
    hint = "type python -m conv_kan.basis_table"
    assert committed.read_text(encoding="utf-8") == basis_table(), hint
