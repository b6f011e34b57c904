"""How the cost of a layer grows, against its limit: with degree, grid, channels, batch and so on.

A ratio that stays level says that the layer grows as its convolutions do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from experiments.benchmarks.harness import Effort, interleave
from experiments.benchmarks.layers import LAYERS, Setting, layer_step, limit_of, limit_step
from experiments.benchmarks.record import Row, timed_rows
from experiments.benchmarks.worker import run_isolated

BENCH = "bench_scaling"
THREADS = "threads"


@dataclass(frozen=True)
class Axis:
    """What varies, over which values, for which layers; `setting` holds the sizes that do not.

    `option` names the argument of a layer, where it is not a size: {"rbf": "grid_size"}.
    """

    values: tuple[int, ...]
    layers: tuple[str, ...]
    setting: Mapping[str, int] = field(default_factory=dict)
    option: Mapping[str, str] = field(default_factory=dict)


_POLYNOMIALS = ("gram", "legendre", "chebyshev", "jacobi", "bernstein")
_GRIDS = {"bspline": "grid_size", "rbf": "grid_size", "relu": "g"}
# Few images where the largest value would take seconds a step.
AXES: dict[str, Axis] = {
    "degree": Axis(
        tuple(range(2, 9)), _POLYNOMIALS, {"batch": 8}, {p: "degree" for p in _POLYNOMIALS}
    ),
    "grid": Axis((3, 5, 8, 16, 32), tuple(_GRIDS), {"batch": 8}, _GRIDS),
    "channels": Axis((16, 32, 64, 128, 256, 512), ("gram", "bspline"), {"batch": 4, "size": 16}),
    "batch": Axis((1, 4, 16, 64, 256), ("gram", "bspline"), {"size": 16}),
    "size": Axis((8, 16, 32, 64, 128), ("gram", "bspline"), {"batch": 4}),
    THREADS: Axis((1, 2), ("gram", "bspline")),
}
GROWTH = 1.1  # the ratio at the largest value may be that of the smallest, times this


def run(short: bool, axes: Sequence[str] = ()) -> Iterator[Row]:
    """The chosen axes (default: all of them); the short form measures the ends of one."""
    effort = {"seconds": 1.5, "min_rounds": 5}
    for name in axes or (("degree",) if short else tuple(AXES)):
        values = AXES[name].values
        layers = AXES[name].layers[:1] if short else AXES[name].layers
        values = (values[0], values[-1]) if short else values
        for threads in values if name == THREADS else (None,):
            yield from run_isolated(
                BENCH, "growth", threads=threads, axis=name, layers=layers,
                values=values if threads is None else (threads,), effort=effort,
            )  # fmt: skip


def growth(
    axis: str,
    layers: Sequence[str],
    values: Sequence[int],
    effort: dict[str, Any],
    setting: Mapping[str, int] | None = None,
) -> Iterator[Row]:
    """The training step in float32 at every value of an axis."""
    about = AXES[axis]
    for name in layers:
        for value in values:
            size = Setting(**{**about.setting, **(setting or {})})
            if axis in vars(size):
                size = replace(size, **{axis: value})
            options = {about.option[name]: value} if name in about.option else {}
            layer = LAYERS[name].layer(size, **options)
            steps = {
                "limit": limit_step(limit_of(layer, size)),
                "layer": layer_step(layer, size.input()),
            }
            yield from timed_rows(
                interleave(steps, Effort(**effort)), baseline="limit", images=size.batch,
                bench=BENCH, case=name, metric="training step [s]", axis=axis, value=float(value),
            )  # fmt: skip


def growth_of(rows: Sequence[Row]) -> dict[tuple[str, str], float]:
    """{(axis, layer): the ratio at the largest value / that at the smallest}."""
    ends: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        if row.provider == "layer" and row.ratio is not None:
            ends.setdefault((row.axis, row.case), []).append(row)
    growths = {}
    for key, found in ends.items():
        found.sort(key=lambda row: row.value or 0.0)
        growths[key] = (found[-1].ratio or 0.0) / (found[0].ratio or 1.0)
    return growths
