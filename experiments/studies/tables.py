"""What the table of a study shows: a figure over parameters, every network beside its twins."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure  # without pyplot: no window, no global state
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from experiments.files import atomic_path
from experiments.reporting.report import short
from experiments.studies.record import FINISHED, Row
from experiments.studies.study import Study

# Of the kinds, in their order; the factors keep error bars apart.
MARKERS = ("o", "s", "^", "D")
ASIDE = (1.0, 0.98, 1.02, 1.04)

Key = tuple[str, str, str, str]  # data, size, family, kind


@dataclass(frozen=True)
class Cell:
    """A network on a dataset: its figure over the seeds that have finished."""

    parameters: int
    figures: tuple[float, ...]

    @property
    def mean(self) -> float:
        return statistics.fmean(self.figures)

    @property
    def deviation(self) -> float:
        """That of the sample; 0 for one seed."""
        return statistics.stdev(self.figures) if len(self.figures) > 1 else 0.0

    def __str__(self) -> str:
        spread = f" ± {100 * self.deviation:.2f}" if len(self.figures) > 1 else ""
        return f"{100 * self.mean:.2f}{spread}"


def cells(rows: Sequence[Row]) -> dict[Key, Cell]:
    """The finished rows of every (data, size, family, kind)."""
    found: dict[Key, list[Row]] = {}
    for row in rows:
        if row["status"] == FINISHED:
            key = (row["data"], row["size"], row["family"], row["kind"])
            found.setdefault(key, []).append(row)
    return {
        key: Cell(group[0]["parameters"], tuple(row["test"] for row in group))
        for key, group in found.items()
    }


def tables(study: Study, rows: Sequence[Row]) -> str:
    """A table in markdown for each dataset, and how long the runs took.

    The figure of the test in percent, mean ± deviation.
    """
    known, parts = cells(rows), []
    for data, about in study.data.items():
        lines = []
        for size in about.sizes:
            for family in study.families:
                group = {
                    k: known[c] for k in study.kinds if (c := (data, size, family, k)) in known
                }
                if group:
                    name = family if len(about.sizes) == 1 else f"{family}, {size}"
                    lines.append(_line(name, group, study))
        if lines:
            words = (about.title, "params", "seeds", *study.kinds.values())
            head = [f"| {' | '.join(words)} |", f"|{' --- |' * len(words)}"]
            parts.append("\n".join(head + lines))
    return "\n\n".join([*parts, _hours(rows)])


def _line(name: str, group: Mapping[str, Cell], study: Study) -> str:
    first = next(iter(group.values()))
    seeds = sorted({len(cell.figures) for cell in group.values()})
    texts = [str(group[kind]) if kind in group else "-" for kind in study.kinds]
    words = (name, short(first.parameters), "-".join(map(str, seeds)), *texts)
    return f"| {' | '.join(words)} |"


def _hours(rows: Sequence[Row]) -> str:
    """Those of all runs, with the middle one for those whose time is not known."""
    done = [row for row in rows if row["status"] == FINISHED]
    times = [row["seconds"] for row in done if row["seconds"]]
    if not times:
        return f"{len(done)} runs"
    total = sum(times) + (len(done) - len(times)) * statistics.median(times)
    return f"{len(done)} runs of together {total / 3600:.1f} hours"


def draw(study: Study, rows: Sequence[Row], path: Path) -> Path:
    """A panel for each dataset: the test's figure over parameters, its deviation over seeds.

    Where all networks have one size, their kinds stand beside each other.
    """
    known = cells(rows)
    panels = [data for data in study.data if any(key[0] == data for key in known)]
    figure = Figure(figsize=(max(4.6 * len(panels), 6), 5), layout="constrained")
    for axes, data in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        _panel(axes, study, data, known)
    figure.axes[0].set_ylabel(
        f"test {study.figure.heading or study.figure.name} [%], mean and deviation over seeds"
    )
    if not _one_size(study):
        _legend(figure, study, len(panels))
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)
    return path


def _one_size(study: Study) -> bool:
    """Whether the networks differ by their kind alone."""
    return len(study.families) == 1 and all(len(data.sizes) == 1 for data in study.data.values())


def _legend(figure: Figure, study: Study, panels: int) -> None:
    handles = [
        Line2D([], [], color=f"C{i}", marker="", linewidth=3, label=family)
        for i, family in enumerate(study.families)
    ]
    handles += [
        Line2D([], [], color="black", linestyle="", marker=MARKERS[i], label=words,
               markerfacecolor=None if i == 0 else "white")
        for i, words in enumerate(study.kinds.values())
    ]  # fmt: skip
    columns = min(3 * panels, 9)
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, fontsize=8)


def _panel(axes: Axes, study: Study, data: str, known: Mapping[Key, Cell]) -> None:
    beside = _one_size(study)
    for i, family in enumerate(study.families):
        for j, kind in enumerate(study.kinds):
            sizes = study.data[data].sizes
            line = [known[c] for s in sizes if (c := (data, s, family, kind)) in known]
            colour = f"C{j if beside else i}"
            axes.errorbar(
                [j if beside else cell.parameters * ASIDE[j] for cell in line],
                [100 * cell.mean for cell in line],
                yerr=[100 * cell.deviation for cell in line],
                color=colour, marker=MARKERS[j], capsize=2, linewidth=0.8,
                markerfacecolor=colour if j == 0 else "white",
            )  # fmt: skip
    if beside:
        axes.set_xticks(range(len(study.kinds)), study.kinds.values())
        axes.margins(x=0.15)
    else:
        _parameters(axes)
    axes.grid(alpha=0.3)
    axes.set_title(study.data[data].title)


def _parameters(axes: Axes) -> None:
    axes.set_xscale("log")
    ticks = [digit * 10.0**power for power in (4, 5, 6) for digit in (1, 2, 3, 5, 7)]
    low, high = axes.get_xlim()
    axes.set_xticks(inside := [t for t in ticks if low <= t <= high], map(short, inside))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("parameters")
