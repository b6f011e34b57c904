"""Rows as a table for the terminal: what was measured, the ratio, whether the target holds."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from experiments.benchmarks.bench_scaling import GROWTH, growth_of
from experiments.benchmarks.record import Row


def table_of(rows: Sequence[Row]) -> Table:
    """One line per figure that is compared with something or has a target of its own."""
    first = rows[0] if rows else None
    about = "" if first is None else (
        f"{first.cpu}, torch {first.torch}, commit {first.commit}; times vary with the machine, "
        "ratios are medians over rounds that take turns"
    )  # fmt: skip
    table = Table(title="Benchmarks", caption=about)
    for name in ("benchmark", "case", "what", "allocator, threads"):
        table.add_column(name)
    for name in ("median", "ratio", "quartiles", "to", "at most", "holds"):
        table.add_column(name, justify="right")
    for row in rows:
        if row.provider != row.baseline and not (row.baseline and row.provider.startswith("twin")):
            table.add_row(*_cells(row))
    for (axis, case), growth in growth_of([row for row in rows if row.axis]).items():
        table.add_row(
            "bench_scaling", case, f"ratio at the largest {axis} / the smallest", "", "",
            f"{growth:.2f}", "", "", f"{GROWTH:.2f}", _yes_no(growth <= GROWTH),
        )  # fmt: skip
    return table


def _cells(row: Row) -> list[str]:
    what = row.metric.rpartition(" [")[0]
    if row.provider not in ("layer", "model"):
        what += f": {row.provider}"
    if row.axis:
        what += f", {row.axis} {row.value:g}"
    ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
    quartiles = "" if row.ratio_q1 is None else f"{row.ratio_q1:.2f} - {row.ratio_q3:.2f}"
    target = "" if row.target is None else f"{row.target:.3g}"
    holds = "" if row.holds is None else _yes_no(row.holds)
    place = f"{row.allocator}, {row.threads}"
    case = row.case if row.dtype == "float32" else f"{row.case}, {row.dtype}, {row.layout}"
    return [
        row.bench,
        case,
        what,
        place,
        _amount(row),
        ratio,
        quartiles,
        row.baseline,
        target,
        holds,
    ]


def _amount(row: Row) -> str:
    """The median with its unit; images per second beside times where they are known."""
    if row.metric.endswith("[B]"):
        return f"{row.median / 2**20:.1f} MiB"
    text = f"{row.median * 1e3:.2f} ms" if row.median < 1 else f"{row.median:.2f} s"
    return text if row.images_per_second is None else f"{text} ({row.images_per_second:,.0f}/s)"


def _yes_no(holds: bool) -> str:
    return "[green]yes[/]" if holds else "[red]no[/]"
