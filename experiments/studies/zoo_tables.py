"""What the table of the zoo shows: accuracy over parameters, and every KAN beside its twins."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure  # without pyplot: no window, no global state
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from experiments.files import atomic_path
from experiments.reporting.report import short
from experiments.studies.record import FINISHED, Row
from experiments.studies.zoo_settings import DATA, FAMILIES, KINDS

TITLES = {"digits": "digits", "mnist5k": "MNIST-5k", "fashion_mnist": "Fashion-MNIST"}
WORDS = {"kan": "KAN", "plain": "plain twin", "svkan": "SV-KAN twin"}
MARKERS = {"kan": "o", "plain": "s", "svkan": "^"}
ASIDE = {"kan": 1.0, "plain": 0.98, "svkan": 1.02}  # factors, so that error bars stand apart


@dataclass(frozen=True)
class Cell:
    """A network on a dataset: its accuracy over the seeds that have finished."""

    parameters: int
    accuracies: tuple[float, ...]

    @property
    def mean(self) -> float:
        return statistics.fmean(self.accuracies)

    @property
    def deviation(self) -> float:
        """That of the sample; 0 for one seed."""
        return statistics.stdev(self.accuracies) if len(self.accuracies) > 1 else 0.0

    def __str__(self) -> str:
        spread = f" ± {100 * self.deviation:.2f}" if len(self.accuracies) > 1 else ""
        return f"{100 * self.mean:.2f}{spread}"


def cells(rows: Sequence[Row]) -> dict[tuple[str, str, str, str], Cell]:
    """The finished rows of every (data, size, family, kind)."""
    found: dict[tuple[str, str, str, str], list[Row]] = {}
    for row in rows:
        if row["status"] == FINISHED:
            key = (row["data"], row["size"], row["family"], row["kind"])
            found.setdefault(key, []).append(row)
    return {
        key: Cell(group[0]["parameters"], tuple(row["test_accuracy"] for row in group))
        for key, group in found.items()
    }


def tables(rows: Sequence[Row]) -> str:
    """A table in markdown for each dataset: test accuracy in percent, mean ± deviation."""
    known, parts = cells(rows), []
    for data in DATA:
        lines = [
            f"| {TITLES[data]} | params | seeds | {' | '.join(WORDS[kind] for kind in KINDS)} |",
            f"|{' --- |' * (3 + len(KINDS))}",
        ]
        for size in DATA[data].sizes:
            for family in FAMILIES:
                group = {k: known[c] for k in KINDS if (c := (data, size, family, k)) in known}
                if not group:
                    continue
                first = next(iter(group.values()))
                seeds = sorted({len(cell.accuracies) for cell in group.values()})
                name = family if len(DATA[data].sizes) == 1 else f"{family}, {size}"
                counts = "-".join(map(str, seeds))
                texts = [str(group[kind]) if kind in group else "-" for kind in KINDS]
                row = (name, short(first.parameters), counts, *texts)
                lines.append(f"| {' | '.join(row)} |")
        if len(lines) > 2:
            parts.append("\n".join(lines))
    return "\n\n".join(parts)


def draw(rows: Sequence[Row], path: Path) -> Path:
    """A panel for each dataset: test accuracy over parameters, with the deviation over seeds."""
    known = cells(rows)
    panels = [data for data in DATA if any(key[0] == data for key in known)]
    figure = Figure(figsize=(max(4.6 * len(panels), 6), 5), layout="constrained")
    colours = {family: f"C{i}" for i, family in enumerate(FAMILIES)}
    for axes, data in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for family in FAMILIES:
            for kind in KINDS:
                line = [
                    known[c] for s in DATA[data].sizes if (c := (data, s, family, kind)) in known
                ]
                axes.errorbar(
                    [cell.parameters * ASIDE[kind] for cell in line],
                    [100 * cell.mean for cell in line],
                    yerr=[100 * cell.deviation for cell in line],
                    color=colours[family], marker=MARKERS[kind], capsize=2, linewidth=0.8,
                    markerfacecolor=colours[family] if kind == "kan" else "white",
                )  # fmt: skip
        axes.set_xscale("log")
        ticks = [digit * 10.0**power for power in (4, 5, 6) for digit in (1, 2, 3, 5, 7)]
        low, high = axes.get_xlim()
        axes.set_xticks(inside := [t for t in ticks if low <= t <= high], map(short, inside))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.grid(alpha=0.3)
        axes.set(title=TITLES[data], xlabel="parameters")
    figure.axes[0].set_ylabel("test accuracy [%], mean and deviation over seeds")
    handles = [Line2D([], [], color=c, marker="", linewidth=3, label=f) for f, c in colours.items()]
    handles += [
        Line2D([], [], color="black", linestyle="", marker=MARKERS[kind], label=WORDS[kind],
               markerfacecolor="black" if kind == "kan" else "white")
        for kind in KINDS
    ]  # fmt: skip
    figure.legend(
        handles=handles, loc="outside lower center", ncols=min(3 * len(panels), 9), fontsize=8
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)
    return path
