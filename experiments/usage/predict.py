"""What a trained network says of images that have no labels: a table, masks, the least certain.

    python -m experiments.predict RUN photo.jpg folder 'more/**/*.png' --top 5 --out answers.csv
    python -m experiments.predict RUN scan.nii.gz folder/with/volumes

Writes answers.csv (path, and what the network answers), answers.json (how often which answer, and
the files that could not be read), answers_least_certain.png and, of networks that find masks,
answers_files/NAME_mask.png and NAME_overlay.png. A network of volumes takes .npy, .nii and .nii.gz,
and its masks are NAME_mask.npy or NAME_mask.nii.gz. Exit codes: 0 all images are done, 1 some could
not be read and the others are done, 2 nothing could be done, which the message explains.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

from experiments.app import exit_with_message
from experiments.errors import ConfigError, DataError, in_words, shortage
from experiments.files import atomic_path, write_json
from experiments.runs.terminal import lasting_output
from experiments.tasks.answers import Answering
from experiments.usage.load import LoadedRun, load_run
from experiments.usage.prediction import Outcome, answer_all, write_files
from experiments.usage.sheet import draw_sheet
from experiments.usage.sources import Kind, Wanted, distinct_names, find_files

FEW = 20  # images up to which the terminal shows each answer, and kinds of answers above
SOME = 1  # the exit code where some images could not be read


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; return the exit code."""
    options = _parser().parse_intermixed_args(arguments)
    with lasting_output(), exit_with_message("stopped; no table was written"), in_words():
        outcome = _predict(options)
        if outcome.unread:
            print(outcome.tell_unread(), file=sys.stderr)
    return SOME if outcome.unread else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.predict",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", metavar="RUN", help="a run, its best.safetensors, or a hub folder")
    parser.add_argument("paths", nargs="+", metavar="PATH", help="files, folders, patterns")
    parser.add_argument("--top", type=int, default=5, metavar="K", help="answers of an image (5)")
    parser.add_argument("--out", type=Path, default=Path("predictions.csv"), metavar="FILE.csv")
    parser.add_argument(
        "--batch-size",
        type=int,
        metavar="N",
        help="images that go through the network together (64; of volumes 1)",
    )
    parser.add_argument(
        "--tta",
        action="store_true",
        help="the mean of the outputs for each image and for its mirror image, left to right",
    )
    parser.add_argument("--device", default="auto", help="cpu, cuda, ...; auto: a GPU if there is")
    parser.add_argument("--script", metavar="FILE", help="the script that registers the network")
    return parser


def _predict(options: argparse.Namespace) -> Outcome:
    for name in ("top", "batch_size"):
        given = getattr(options, name)
        if given is not None and given < 1:
            raise ConfigError(f"--{name.replace('_', '-')} {given}: must be 1 or more")
    if options.out.suffix != ".csv":
        raise ConfigError(f"--out {options.out}: it is a table; give a file named .csv")
    run = load_run(options.run, options.script)
    transform = run.transform
    transform.require_rule()
    kind = Kind(transform.what, transform.extensions)
    wanted = find_files(options.paths, kind)
    places = dict(zip(wanted, distinct_names(wanted, kind), strict=True))
    console, outcome = Console(soft_wrap=True, markup=False, emoji=False), Outcome(transform.what)
    network = Answering(run.model, run.answers, options.tta).eval().to(_device(options.device))
    try:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        _answer(run, network, places, options, outcome, console)
        if not outcome.rows:
            raise DataError(outcome.tell_unread())
        _write(run, outcome, options, console)
    except OSError as error:
        raise shortage(error) or ConfigError(
            f"--out {options.out}: {error.strerror}; give another file"
        ) from error
    return outcome


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"--device {name}: {str(error).splitlines()[0]}; type cpu") from error
    return torch.device(name)


def _answer(
    run: LoadedRun,
    network: Answering,
    places: Mapping[Wanted, str],
    options: argparse.Namespace,
    outcome: Outcome,
    console: Console,
) -> None:
    """Answer all images behind a bar, and write the files of each as soon as it is answered."""
    size, wanted = options.batch_size or run.transform.at_once, list(places)
    batches = [wanted[start : start + size] for start in range(0, len(wanted), size)]
    silent = not console.is_terminal
    shown = track(batches, "predicting", console=console, transient=True, disable=silent)
    for answer in answer_all(run, network, shown, outcome.unread):
        place = _beside(options.out, "_files") / places[answer.wanted]
        outcome.take(run, answer, write_files(run, answer, place), options.top)


def _beside(path: Path, words: str) -> Path:
    return path.with_name(f"{path.stem}{words}")


def _write(run: LoadedRun, outcome: Outcome, options: argparse.Namespace, console: Console) -> None:
    """Write the table, the summary and the contact sheet. Raises: OSError."""
    headings = ["path", *run.answers.written, *run.answers.columns(options.top)]
    with atomic_path(options.out) as temporary, _open(temporary) as file:
        csv.writer(file).writerows([headings, *outcome.rows])
    summary: dict[str, Any] = {
        "model": run.description.model,
        "run": str(run.path),
        "images": len(outcome.rows),
        "answers": {answer: n for answer, n in outcome.counts.most_common() if answer},
        "tta": options.tta,
        "unread": outcome.unread,
    }
    write_json(options.out.with_suffix(".json"), summary)
    console.print(_table(outcome, headings, summary))
    console.print(f"table: {options.out}")
    if outcome.least:
        sheet = _beside(options.out, "_least_certain.png")
        draw_sheet(outcome.least_certain(), sheet)
        console.print(f"least certain: {sheet}")


def _open(path: Path) -> Any:
    """A file for a table; names of files that are no text are written as they are."""
    return path.open("w", newline="", encoding="utf-8", errors="surrogateescape")


def _table(outcome: Outcome, headings: list[str], summary: dict[str, Any]) -> Table:
    """Each answer if they are few, else how often which one."""
    rows, whats = outcome.rows, f"{outcome.what}s"
    table = Table(title=f"{summary['model']}, {len(rows)} {whats}")
    if len(rows) > FEW and summary["answers"]:
        table.add_column("answer")
        table.add_column(whats, justify="right")
        for answer, count in list(summary["answers"].items())[:FEW]:
            table.add_row(answer, str(count))
        return table
    for heading in headings[:3]:
        table.add_column(heading)
    for row in rows[:FEW]:
        table.add_row(*(f"{c:.4f}" if isinstance(c, float) else str(c) for c in row[:3]))
    return table
