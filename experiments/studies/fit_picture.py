"""The picture of rational fits: a function with its fits, and their errors, around the interval."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from matplotlib.figure import Figure  # without pyplot: no window, no global state

from experiments.files import atomic_path
from experiments.studies.rational_fits import Fit, Problem, evaluate

_POINTS, _BESIDE = 1200, 0.5  # points of a curve; of the interval's width, shown on either side
_LEAST = 1e-9  # an error that is drawn


def draw(problem: Problem, fits: Sequence[Fit], path: Path) -> Path:
    """Two panels over one axis, the interval shaded."""
    beside = _BESIDE * (problem.high - problem.low)
    x = torch.linspace(problem.low - beside, problem.high + beside, _POINTS, dtype=torch.float64)
    y = problem.function(x)
    figure = Figure(figsize=(8, 6.5), layout="constrained")
    values, errors = figure.subplots(2, sharex=True)
    values.plot(x, y, color="black", linewidth=2.5, alpha=0.4, label=problem.text)
    for fit in fits:
        found = evaluate(fit.coefficients, x)
        (line,) = values.plot(x, found, linewidth=1, label=f"fit {fit.name}")
        difference = (found - y).abs().clamp(min=_LEAST)
        label = f"{fit.name}: at most {fit.inside[0]:.1e} inside"
        errors.semilogy(x, difference, color=line.get_color(), linewidth=1, label=label)
    known = y[y.isfinite()]
    margin = 0.15 * float(known.max() - known.min()) or 1.0
    values.set_ylim(float(known.min()) - margin, float(known.max()) + margin)
    for panel, label in ((values, "F(x)"), (errors, "|error|")):
        panel.axvspan(problem.low, problem.high, color="0.93", zorder=0)
        panel.set_ylabel(label)
        panel.grid(alpha=0.3)
        panel.legend(fontsize="small")
    errors.set_xlabel(f"x; fitted on [{problem.low:g}, {problem.high:g}]")
    values.set_title(f"rational functions P / Q of order M/N, fitted to {problem.text}")
    with atomic_path(path) as partial:
        figure.savefig(partial, format="png", dpi=110)
    return path
