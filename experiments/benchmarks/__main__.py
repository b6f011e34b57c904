"""The command line of the benchmarks."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console

from experiments.app import exit_with_message
from experiments.benchmarks import (
    bench_data,
    bench_layer,
    bench_memory,
    bench_model,
    bench_published,
    bench_scaling,
    bench_startup,
    bench_trainer,
)
from experiments.benchmarks.pictures import draw_all
from experiments.benchmarks.record import PICTURES, RESULTS, Row, append_rows, newest, read_rows
from experiments.benchmarks.tables import table_of
from experiments.reporting.report import MIN_WIDTH

BENCHES = ("layer", "published", "model", "memory", "data", "trainer", "startup", "scaling")
DESCRIPTION = """\
Measure what layers, models, loaders and the trainer cost, against the least they could cost, and
layers against the plain torch form that published code has.

Every figure is appended as a row to experiments/results/bench_<name>.csv; the newest rows are drawn
as docs/bench_*.png. Providers take turns, so that ratios hold on a machine that is busy with other
things too; times do not. Each setting of the allocator has a process of its own."""
EXAMPLES = """\
examples:
  python -m experiments.benchmarks --short             the short form of all (make bench)
  python -m experiments.benchmarks                     everything (make bench-full)
  python -m experiments.benchmarks layer --fresh       the layers, in place of their old rows
  python -m experiments.benchmarks published           layers against their plain torch form
  python -m experiments.benchmarks model --models 'vgg*'
  python -m experiments.benchmarks scaling --axes batch channels
  python -m experiments.benchmarks --draw              the pictures again, nothing measured"""


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m experiments.benchmarks", description=DESCRIPTION, epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("benches", nargs="*", metavar="BENCH", help=f"which: {', '.join(BENCHES)}; default: all")
    add("--short", action="store_true", help="fewer cases and rounds")
    add("--fresh", action="store_true", help="begin the CSV files of these benchmarks anew")
    add("--draw", action="store_true", help="draw the pictures from the files; measure nothing")
    add("--models", default="*", metavar="PATTERN", help="of the benchmark model; default: all")
    add("--axes", nargs="+", default=[], choices=tuple(bench_scaling.AXES), help="of scaling")
    text = "kept: freed memory is kept, as in runs of the platform; default: glibc's as it is"
    add(
        "--allocators",
        nargs="+",
        default=None,
        choices=("kept", "default"),
        help=f"of layer; {text}",
    )
    add("--results", type=Path, default=RESULTS, metavar="DIR", help="where the CSV files are")
    add("--pictures", type=Path, default=PICTURES, metavar="DIR", help="where pictures go")
    chosen = parser.parse_args(arguments)
    for name in chosen.benches:
        if name not in BENCHES:
            parser.error(f"there is no benchmark {name!r}; choose from: {', '.join(BENCHES)}")
    chosen.benches = chosen.benches or list(BENCHES)
    if chosen.axes and "scaling" not in chosen.benches:
        parser.error("--axes belongs to the benchmark scaling; type: scaling --axes ...")
    return chosen


def measure(name: str, chosen: argparse.Namespace) -> Iterator[Row]:
    """The rows of one benchmark."""
    short = chosen.short
    allocators = chosen.allocators or (("kept",) if short else ("kept", "default"))
    if name == "layer":
        return bench_layer.run(short, allocators)
    if name == "model":
        return bench_model.run(short, chosen.models)
    if name == "scaling":
        return bench_scaling.run(short, chosen.axes)
    rest = {
        "published": bench_published.run,
        "memory": bench_memory.run,
        "data": bench_data.run,
        "trainer": bench_trainer.run,
        "startup": bench_startup.run,
    }
    return rest[name](short)


def main(arguments: Sequence[str]) -> None:
    chosen, console = parse(arguments), Console()
    rows: list[Row] = []
    for name in () if chosen.draw else chosen.benches:
        path = chosen.results / f"bench_{name}.csv"
        if chosen.fresh:
            path.unlink(missing_ok=True)
        with console.status(f"measuring: {name}") as status:
            for row in measure(name, chosen):
                append_rows(path, [row])
                rows.append(row)
                status.update(f"measuring: {name}, {row.case} {row.provider}, {row.metric}")
    if rows:
        wide = Console(width=max(console.width, MIN_WIDTH))
        wide.print(table_of(rows))
    kept = [row for name in BENCHES for row in read_rows(chosen.results / f"bench_{name}.csv")]
    for picture in draw_all(newest(kept), chosen.pictures):
        console.print(f"picture: {picture}", soft_wrap=True)


if __name__ == "__main__":
    with exit_with_message("stopped; what was measured is in the CSV files"):
        main(sys.argv[1:])
