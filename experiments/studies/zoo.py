"""The zoo: every family of networks beside its plain and its SV-KAN twin of equal parameters.

    python -m experiments.studies.zoo [--data mnist5k] [--only RDNet] [--jobs 2] [--seconds 3600]
    python -m experiments.studies.zoo --draw      the picture and the tables again, nothing trained

Every run is a row of experiments/results/zoo.csv, which several days and machines can share: what
has finished there is not run again, and what was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import fnmatch
import sys
from collections.abc import Sequence
from pathlib import Path

from experiments.errors import UserError
from experiments.studies import record
from experiments.studies.children import ROOT, Place, Queue
from experiments.studies.setting import Setting
from experiments.studies.zoo_settings import DATA, absent, settings
from experiments.studies.zoo_tables import draw, tables

TABLE = ROOT / "experiments" / "results" / "zoo.csv"
PICTURE = ROOT / "docs" / "zoo.png"
RUNS = ROOT / "runs" / "zoo"


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m experiments.studies.zoo", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    text = "of DATA/SIZE/FAMILY/KIND, or a part of it: 'mnist5k/small/*', VGGKAN; default: all"
    add("--data", nargs="+", default=list(DATA), choices=list(DATA), help="default: all")
    add("--only", default="*", metavar="PATTERN", help=text)
    add("--jobs", type=int, default=1, metavar="N", help="runs at once, of one thread each")
    add("--seconds", type=float, metavar="N", help="start no run after that many")
    add("--draw", action="store_true", help="draw and print what is in the table; train nothing")
    add("--table", type=Path, default=TABLE, metavar="FILE", help=f"default: {_short(TABLE)}")
    add("--picture", type=Path, default=PICTURE, metavar="FILE", help=f"default: {_short(PICTURE)}")
    add("--runs", type=Path, default=RUNS, metavar="DIR", help=f"default: {_short(RUNS)}")
    chosen = parser.parse_args(arguments)
    if chosen.jobs < 1:
        parser.error(f"--jobs {chosen.jobs} must be 1 or more")
    return chosen


def choose(data: Sequence[str], pattern: str) -> list[Setting]:
    """The settings of these data whose name fits. Raises: UserError if none does."""
    found = [s for s in settings(data) if fnmatch.fnmatch(s.name, f"*{pattern}*")]
    if not found:
        raise UserError(
            f"--only {pattern!r} fits no row; they are called DATA/SIZE/FAMILY/KIND, for example "
            "mnist5k/small/RDNet/kan"
        )
    return found


def main(arguments: Sequence[str]) -> int:
    """Train what is missing, then draw. Returns the exit code."""
    chosen, code = parse(arguments), 0
    if not chosen.draw:
        todo = choose(chosen.data, chosen.only)
        for name in dict.fromkeys(setting.labels["data"] for setting in todo):
            if reason := absent(name):
                print(f"{name} is skipped: {reason}")
                todo = [setting for setting in todo if setting.labels["data"] != name]
        place = Place(chosen.table.resolve(), chosen.runs.resolve())
        code = Queue(place, chosen.jobs, chosen.seconds, _say).work(todo)
    rows = record.read(chosen.table)
    if any(row["status"] == record.FINISHED for row in rows):
        print(tables(rows))
        print(f"picture: {_short(draw(rows, chosen.picture))}")
    return code


def _say(line: str) -> None:
    print(line, flush=True)


def _short(path: Path) -> str:
    path = path.resolve()
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


if __name__ == "__main__":
    try:
        raise SystemExit(main(sys.argv[1:]))
    except UserError as problem:
        print(f"error: {problem}", file=sys.stderr)
        raise SystemExit(2) from problem
    except KeyboardInterrupt:
        print("stopped at once; the next call takes up what was saved", file=sys.stderr)
        raise SystemExit(130) from None
