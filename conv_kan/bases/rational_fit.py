"""Coefficients of group rationals fitted to functions.

    F(x) = sum_{m=0..M} a_m x^m / (1 + sum_{m=1..N} b_m |x|^m),  b_m >= 0

For given b the best a is a linear least-squares problem, so that only b is searched for:
Levenberg-Marquardt steps from many starting points at once. `python -m conv_kan.bases.rational_fit`
prints the rows of conv_kan/bases/rational_init.py that were fitted here; `python -m
experiments.studies.fit_rational` fits any function.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

LIMIT, POINTS = 3.0, 1000
_NUMERATOR, _DENOMINATOR = 6, 4
_PATIENCE, _GAIN = 30, 1e-9  # steps in which the best cost must fall by this part of it

TARGETS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "geglu": lambda x: x * F.gelu(x),
    "swishglu": lambda x: x * F.silu(x),
    "erfc_softplus_2": lambda x: torch.erfc(F.softplus(x)).square(),
}


def fit_points() -> Tensor:
    """Where the errors are summed: POINTS numbers, evenly spaced on [-3, 3]."""
    return torch.linspace(-LIMIT, LIMIT, POINTS, dtype=torch.float64, device="cpu")


def best_numerator(
    x: Tensor, y: Tensor, b: Tensor, count: int = _NUMERATOR
) -> tuple[Tensor, Tensor]:
    """The a of least squares and the residuals F(x) - y for every row of b.

    Shapes: x, y (P,), b (S, N) -> a (S, count), residuals (S, P).
    """
    powers = x.abs().unsqueeze(-1).pow(torch.arange(1, b.shape[1] + 1))
    q = 1.0 + b @ powers.T
    columns = x.unsqueeze(-1).pow(torch.arange(count)) / q.unsqueeze(-1)
    a = torch.linalg.lstsq(columns, y.expand(len(b), -1).unsqueeze(-1)).solution
    return a.squeeze(-1), (columns @ a).squeeze(-1) - y


def fit(
    x: Tensor, y: Tensor, start: Tensor, *, count: int = _NUMERATOR, num_steps: int = 300
) -> tuple[Tensor, Tensor, float]:
    """(a, b, sum of squared errors), the best that is reached from the rows of `start`.

    Ends before num_steps where the best row no longer gains.
    Shapes: x, y (P,), start (S, N) -> a (count,), b (N,).
    """
    b = start.clone()
    residuals = best_numerator(x, y, b, count)[1]
    cost, damping = residuals.square().sum(1), torch.full((len(b),), 1e-3, dtype=torch.float64)
    history = [float(cost.min())]
    for _ in range(num_steps if b.shape[1] else 0):
        trial = (b - _step(x, y, b, residuals, damping, count)).abs()
        trial_residuals = best_numerator(x, y, trial, count)[1]
        trial_cost = trial_residuals.square().sum(1)
        better = trial_cost < cost
        b = torch.where(better[:, None], trial, b)
        residuals = torch.where(better[:, None], trial_residuals, residuals)
        cost = torch.where(better, trial_cost, cost)
        damping = torch.where(better, damping / 3.0, damping * 4.0).clamp(1e-12, 1e12)
        history.append(float(cost.min()))
        if len(history) > _PATIENCE and history[-1] >= (1.0 - _GAIN) * history[-1 - _PATIENCE]:
            break
    best = int(cost.argmin())
    return best_numerator(x, y, b, count)[0][best], b[best], float(cost[best])


def _step(
    x: Tensor, y: Tensor, b: Tensor, residuals: Tensor, damping: Tensor, count: int
) -> Tensor:
    """(J J^T + damping diag(J J^T))^-1 J residuals, J = d residuals / d b by differences."""
    rows = []
    for m in range(b.shape[1]):
        width = 1e-6 * (1.0 + b[:, m])
        moved = b.clone()
        moved[:, m] += width
        rows.append((best_numerator(x, y, moved, count)[1] - residuals) / width.unsqueeze(1))
    jacobian = torch.stack(rows, dim=1)
    normal = jacobian @ jacobian.mT
    diagonal = torch.diag_embed(normal.diagonal(dim1=1, dim2=2) + 1e-12)
    system = normal + damping[:, None, None] * diagonal
    return torch.linalg.solve(system, (jacobian @ residuals.unsqueeze(-1)).squeeze(-1))


def random_starts(num_starts: int, count: int = _DENOMINATOR) -> Tensor:
    """Denominators (num_starts, count) of sizes between 0.01 and 10, from a fixed seed."""
    generator = torch.Generator().manual_seed(0)
    size = 10.0 ** (3.0 * torch.rand(num_starts, 1, generator=generator) - 2.0)
    return (size * torch.randn(num_starts, count, generator=generator)).abs().double()


def main() -> None:
    for name, target in TARGETS.items():
        x = fit_points()
        a, b, cost = fit(x, target(x), random_starts(64))
        worst = float(best_numerator(x, target(x), b.unsqueeze(0))[1].abs().max())
        row = ", ".join(
            "(" + ", ".join(f"{c:.7g}" if abs(c) > 1e-7 else "0" for c in values.tolist()) + ")"
            for values in (a, b)
        )
        print(f'    "{name}": ({row}),  # error {worst:.1e}, squares {cost:.1e}')


if __name__ == "__main__":
    main()
