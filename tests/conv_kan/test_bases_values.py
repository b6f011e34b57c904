"""The formulas of the bases, against scipy, numpy and quadrature."""

import numpy as np
import pytest
import scipy.integrate
import scipy.interpolate
import scipy.special
import scipy.stats
import torch

from conv_kan import Basis, create_basis


def values(basis: Basis, x: torch.Tensor) -> torch.Tensor:
    """(N, K) of N numbers."""
    return basis(x.reshape(-1, 1))


def plain(name: str, **options: object) -> Basis:
    """A basis that is neither squashed nor scaled."""
    return create_basis(name, squash="none", scale="none", **options)


@pytest.mark.parametrize("degree", [1, 2, 3, 7])
def test_chebyshev_and_legendre_agree_with_scipy(degree):
    x = torch.linspace(-1, 1, 41, dtype=torch.float64)
    for name, reference in (
        ("chebyshev", scipy.special.eval_chebyt),
        ("legendre", scipy.special.eval_legendre),
    ):
        basis = create_basis(name, degree=degree, squash="none", scale="none")
        expected = np.stack([reference(j, x.numpy()) for j in range(degree + 1)], axis=1)
        np.testing.assert_allclose(values(basis, x).numpy(), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("grid_size", "order", "grid_range"),
    [(5, 3, (-1, 1)), (8, 2, (-2, 2)), (4, 1, (-1, 1)), (5, 0, (-1, 1)), (3, 5, (0, 1))],
)
def test_bspline_agrees_with_scipy_and_vanishes_outside(grid_size, order, grid_range):
    low, high = grid_range
    h = (high - low) / grid_size
    knots = np.linspace(low - order * h, high + order * h, grid_size + 2 * order + 1)
    x = np.linspace(knots[0] + 1e-9, knots[-1] - 1e-9, 301)
    count = grid_size + order
    expected = np.stack(
        [
            np.nan_to_num(
                scipy.interpolate.BSpline.basis_element(
                    knots[j : j + order + 2], extrapolate=False
                )(x)
            )
            for j in range(count)
        ],
        axis=1,
    )
    basis = create_basis(
        "bspline", grid_size=grid_size, spline_order=order, grid_range=grid_range, scale="none"
    )
    assert basis.num_functions == count
    np.testing.assert_allclose(values(basis, torch.from_numpy(x)), expected, rtol=0, atol=1e-9)
    single = values(basis, torch.from_numpy(x).float())
    np.testing.assert_allclose(single, expected, rtol=0, atol=1e-5 if order else 1.0)
    outside = torch.tensor([knots[0] - 1e-6, knots[-1] + 1e-6, -1e4, 1e4], dtype=torch.float64)
    assert torch.count_nonzero(values(basis, outside)) == 0


@pytest.mark.parametrize("order", [0, 1, 2, 3, 5])
def test_bsplines_sum_to_one_inside_the_grid_and_are_half_open(order):
    basis = create_basis("bspline", spline_order=order, scale="none")
    x = torch.linspace(-1, 1, 1001, dtype=torch.float64)[:-1]
    torch.testing.assert_close(values(basis, x).sum(1), torch.ones_like(x))
    if order == 0:
        knots = torch.tensor([basis.knot(m) for m in range(6)])
        torch.testing.assert_close(values(basis, knots), torch.eye(6)[:, :5])


def test_rbf_values():
    basis = create_basis("rbf", grid_size=5, grid_range=(-1.5, 1.5), scale="none")
    x = torch.linspace(-4, 4, 33, dtype=torch.float64)
    c = torch.linspace(-1.5, 1.5, 5, dtype=torch.float64)
    torch.testing.assert_close(values(basis, x), torch.exp(-(((x[:, None] - c) / 0.75) ** 2)))


def test_gram_values():
    basis = create_basis("gram", degree=4, scale="none")
    with torch.no_grad():
        basis.beta.copy_(torch.tensor([9.0, 0.1, -0.2, 0.05, 9.0]))
    x = torch.linspace(-2, 2, 9, dtype=torch.float64)
    z, beta = torch.tanh(x), basis.beta.double()
    p = [torch.ones_like(z), z]
    for m, g in ((2, 2.25), (3, 100 / 3), (4, 137.8125)):
        p.append(z * p[m - 1] - g * beta[m - 1] * p[m - 2])
    expected = torch.stack([q * torch.sigmoid(q) for q in p], dim=1)
    torch.testing.assert_close(values(basis, x), expected)


JACOBI = [(1.0, 1.0), (0.0, 0.0), (-0.5, -0.5), (0.5, 1.5), (-0.3, 0.3), (2.0, -0.9)]


@pytest.mark.parametrize(("a", "b"), JACOBI)
def test_jacobi_agrees_with_scipy(a, b):
    x = torch.linspace(-1, 1, 41, dtype=torch.float64)
    expected = np.stack([scipy.special.eval_jacobi(j, a, b, x.numpy()) for j in range(7)], axis=1)
    found = values(plain("jacobi", degree=6, a=a, b=b), x).numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize(
    ("name", "options", "a", "b"),
    [("legendre", {}, 0, 0), ("chebyshev", {}, -0.5, -0.5)]
    + [("jacobi", {"a": a, "b": b}, a, b) for a, b in JACOBI],
)
def test_polynomials_are_orthogonal(name, options, a, b):
    nodes, weights = scipy.special.roots_jacobi(12, a, b)
    phi = values(plain(name, degree=5, **options), torch.from_numpy(nodes)).numpy()
    products = phi.T @ (weights[:, None] * phi)
    np.testing.assert_allclose(products, np.diag(np.diag(products)), atol=1e-11)
    assert (np.diag(products) > 1e-3).all()


def test_fourier_functions_are_orthogonal_sines_and_cosines():
    x = torch.arange(16, dtype=torch.float64) * (2 * np.pi / 16)
    phi = values(plain("fourier", num_frequencies=4), x)
    torch.testing.assert_close(phi.T @ phi, torch.diag(torch.tensor([16.0] + [8.0] * 8).double()))
    torch.testing.assert_close(phi[:, 3], torch.cos(2 * x))
    torch.testing.assert_close(phi[:, 4], torch.sin(2 * x))
    without = plain("fourier", num_frequencies=4, constant=False)
    assert without.constants == {} and without.num_functions == 8
    torch.testing.assert_close(values(without, x), phi[:, 1:])


@pytest.mark.parametrize("degree", [1, 2, 3, 6])
def test_bernstein_is_a_partition_of_unity_and_not_constant(degree):
    x = torch.linspace(-6, 6, 61, dtype=torch.float64)
    basis = create_basis("bernstein", degree=degree, scale="none")
    phi = values(basis, x)
    expected = scipy.stats.binom.pmf(np.arange(degree + 1), degree, torch.sigmoid(x)[:, None])
    np.testing.assert_allclose(phi.numpy(), expected, atol=1e-12)
    torch.testing.assert_close(phi.sum(1), torch.ones_like(x))
    assert (phi.std(0) > 0.05).all() and basis.constants == {}


def test_monomials_are_powers():
    x = torch.linspace(-2, 2, 9, dtype=torch.float64)
    torch.testing.assert_close(
        values(plain("monomial", degree=4), x), torch.stack([x**m for m in range(5)], dim=1)
    )


def test_relu_bumps():
    basis = plain("relu", g=5, k=3)
    middles = torch.tensor([(j - 3) / 5 + 2 / 5 for j in range(8)])
    torch.testing.assert_close(values(basis, middles).diagonal(), torch.ones(8))
    ends = torch.cat([middles - 0.401, middles + 0.401])
    assert torch.count_nonzero(values(basis, ends).view(2, 8, 8).diagonal(0, 1, 2)) == 0
    basis.bind(3)
    with torch.no_grad():
        basis.low.add_(0.1 * torch.randn_like(basis.low))
        basis.high.add_(0.1 * torch.randn_like(basis.high))
    x = torch.randn(5, 6, 4)
    low, high = (p.repeat(2, 1)[None, :, :, None] for p in (basis.low, basis.high))
    wide = x.unsqueeze(2)
    expected = (6.25 * torch.relu(wide - low) * torch.relu(high - wide)) ** 2
    torch.testing.assert_close(basis(x), expected.flatten(1, 2))
    for name in ("low", "high"):  # an optimiser and a checkpoint can write to them
        assert basis.get_parameter(name).is_contiguous()


def _meyer(u):
    v = np.abs(u)
    t = 2 * v - 1
    nu = t**4 * (35 - 84 * t + 70 * t**2 - 20 * t**3)
    a = np.where(v <= 0.5, 1.0, np.where(v >= 1.0, 0.0, np.cos(np.pi / 2 * nu)))
    return np.sin(np.pi * v) * a


WAVELETS = {
    "mexican_hat": lambda u: 2 / (3**0.5 * np.pi**0.25) * (u**2 - 1) * np.exp(-(u**2) / 2),
    "morlet": lambda u: np.cos(5 * u) * np.exp(-(u**2) / 2),
    "dog": lambda u: -u * np.exp(-(u**2) / 2),
    "meyer": _meyer,
    "shannon": lambda u: np.sinc(u / np.pi),
}


@pytest.mark.parametrize("wavelet", WAVELETS)
def test_wavelets(wavelet):
    basis = plain("wavelet", wavelet=wavelet, num_wavelets=3).double()
    with torch.no_grad():
        basis.translation.copy_(torch.tensor([-1.0, 0.25, 2.0]))
        basis.dilation.copy_(torch.tensor([0.5, 1.0, -2.0]))
    x = torch.linspace(-4, 4, 65, dtype=torch.float64)
    u = (x[:, None] - basis.translation) / basis.dilation
    expected = WAVELETS[wavelet](u.detach().numpy())
    np.testing.assert_allclose(values(basis, x).detach().numpy(), expected, atol=1e-14)
    if wavelet in ("mexican_hat", "dog"):  # wavelets have mean 0
        mean = scipy.integrate.quad(WAVELETS[wavelet], -12, 12)[0]
        assert mean == pytest.approx(0.0, abs=1e-9)
    assert create_basis("wavelet", wavelet=wavelet).second_moment == 1.0


def test_shared_spline_is_one_function_close_to_silu():
    basis = plain("shared_spline")
    x = torch.linspace(-4, 4, 81, dtype=torch.float64)
    silu = torch.nn.functional.silu(x)
    assert (values(basis, x).squeeze(1) - silu).abs().max() < 0.1


@pytest.mark.parametrize("order", [0, 1, 2, 3, 5])
def test_shared_spline_is_a_sum_of_splines(order):
    options = {"grid_size": 8, "spline_order": order, "grid_range": (-4, 4)}
    basis, splines = plain("shared_spline", **options).double(), plain("bspline", **options)
    with torch.no_grad():
        basis.coefficients.normal_()
    x = torch.linspace(-12, 12, 99, dtype=torch.float64)
    torch.testing.assert_close(values(basis, x).squeeze(1), values(splines, x) @ basis.coefficients)
    if order:  # comparisons with NaN are false: outside every interval
        assert values(basis, torch.tensor([float("nan")])).isnan().all()


def test_gram_applies_any_activation_outside():
    gelu = create_basis("gram", outer="gelu", scale="none")
    bare = create_basis("gram", outer="identity", scale="none")
    x = torch.linspace(-2, 2, 9, dtype=torch.float64)
    torch.testing.assert_close(values(gelu, x), torch.nn.functional.gelu(values(bare, x)))
    assert bare.constants == {0: 1.0}


def test_rbf_centres_can_be_set():
    basis = plain("rbf", grid_size=3, grid_range=(-1, 1))
    basis.set_centres(torch.tensor([-1.5, 0.0, 2.0]))
    x = torch.linspace(-2, 2, 9, dtype=torch.float64)
    expected = torch.exp(-((x[:, None] - torch.tensor([-1.5, 0.0, 2.0]).double()) ** 2))
    torch.testing.assert_close(values(basis, x), expected)
    for wrong in ([0.0], [0.0, 1.0, float("nan")]):
        with pytest.raises(ValueError, match="3 finite numbers"):
            basis.set_centres(wrong)
