"""The command of a study: train what its table lacks, then draw it and print its tables."""

from __future__ import annotations

import argparse
import fnmatch
import sys
from collections.abc import Sequence
from pathlib import Path

from experiments.app import exit_with_message
from experiments.errors import UserError
from experiments.studies import record
from experiments.studies.children import ROOT, Place, Queue
from experiments.studies.setting import Setting
from experiments.studies.study import Study
from experiments.studies.tables import draw, tables

USAGE = """
    python -m experiments.studies.{name} [--data mnist5k] [--only PATTERN] [--jobs 2]
    python -m experiments.studies.{name} --draw      picture and tables again, nothing trained

Every run is a row of {table}, which several days and machines can share: what has
finished there is not run again, and what was stopped goes on where it was.
"""


def parse(study: Study, arguments: Sequence[str]) -> argparse.Namespace:
    table = ROOT / "experiments" / "results" / f"{study.name}.csv"
    picture, runs = ROOT / "docs" / f"{study.name}.png", ROOT / "runs" / study.name
    usage = USAGE.format(name=study.name, table=_short(table))
    parser = argparse.ArgumentParser(
        f"python -m experiments.studies.{study.name}", description=study.about + usage,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    text = "of DATA/SIZE/FAMILY/KIND, or a part of it; default: all"
    add("--data", nargs="+", default=[], choices=list(study.data), help="default: all")
    add("--only", default="*", metavar="PATTERN", help=text)
    add("--jobs", type=int, default=1, metavar="N", help="runs at once, of one thread each")
    add("--seconds", type=float, metavar="N", help="start no run after that many")
    add("--draw", action="store_true", help="draw and print what is in the table; train nothing")
    add("--table", type=Path, default=table, metavar="FILE", help=f"default: {_short(table)}")
    add("--picture", type=Path, default=picture, metavar="FILE", help=f"default: {_short(picture)}")
    add("--runs", type=Path, default=runs, metavar="DIR", help=f"default: {_short(runs)}")
    chosen = parser.parse_args(arguments)
    if chosen.jobs < 1:
        parser.error(f"--jobs {chosen.jobs} must be 1 or more")
    return chosen


def choose(study: Study, data: Sequence[str], pattern: str) -> list[Setting]:
    """The settings of these data whose name fits. Raises: UserError if none does."""
    found = [s for s in study.settings(data) if fnmatch.fnmatch(s.name, f"*{pattern}*")]
    if not found:
        raise UserError(
            f"--only {pattern!r} fits no row; they are called DATA/SIZE/FAMILY/KIND, for example "
            f"{next(study.settings()).name}"
        )
    return found


def main(study: Study, arguments: Sequence[str]) -> int:
    """Train what is missing, then draw. Returns the exit code."""
    chosen, code = parse(study, arguments), 0
    if not chosen.draw:
        todo = choose(study, chosen.data, chosen.only)
        for name in dict.fromkeys(setting.labels["data"] for setting in todo):
            if reason := study.absent(name):
                print(f"{name} is skipped: {reason}")
                todo = [setting for setting in todo if setting.labels["data"] != name]
        place = Place(chosen.table.resolve(), chosen.runs.resolve())
        code = Queue(place, chosen.jobs, chosen.seconds, _say).work(todo)
    rows = record.read(chosen.table)
    if any(row["status"] == record.FINISHED for row in rows):
        print(tables(study, rows))
        print(f"picture: {_short(draw(study, rows, chosen.picture))}")
    return code


def run(study: Study) -> int:
    """What `python -m experiments.studies.NAME` does; returns the exit code."""
    with exit_with_message("stopped at once; the next call takes up what was saved"):
        return main(study, sys.argv[1:])


def _say(line: str) -> None:
    print(line, flush=True)


def _short(path: Path) -> str:
    path = path.resolve()
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)
