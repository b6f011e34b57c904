"""Reads the code blocks of the pages, and checks a command line without doing what it says."""

from __future__ import annotations

import argparse
import functools
import re
import runpy
import shlex
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from unittest import mock

from accelerate.commands.launch import launch_command_parser
from torch.distributed.run import get_args_parser

from experiments.__main__ import MODULES
from experiments.config.command_line import read_command_line
from experiments.config.places import entry_names
from experiments.tuning import checks
from experiments.tuning import launch as tuning
from experiments.tuning.checks import Composer, check_space
from experiments.tuning.request import Request
from models.command import is_pattern, names_like, read_options

ROOT = Path(__file__).resolve().parents[1]
PAGES = {page.name: page for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))}
FENCE = re.compile(r"^```(\w*)(?: title=\"([^\"]+)\")?\n(.*?)^```$", re.M | re.S)
ASSIGNMENT = re.compile(r"[A-Z_]+=\S*")


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, the file that it is to be, and its text."""

    language: str
    title: str
    text: str

    def commands(self) -> Iterator[list[str]]:
        """The words of each command, without comments and what stands for words left out."""
        for line in self.text.replace("\\\n", " ").splitlines():
            if words := [word for word in shlex.split(line, comments=True) if word != "..."]:
                yield words


def blocks(page: str) -> list[Block]:
    """The code blocks of a page in their order."""
    return [Block(*found) for found in FENCE.findall(PAGES[page].read_text(encoding="utf-8"))]


def as_python(words: Sequence[str]) -> list[str] | None:
    """A command as `python *arguments` of one process; None for one that starts no Python.

    Launchers read their own options first, and refuse those that they do not have.
    """
    while ASSIGNMENT.fullmatch(words[0]):
        words = words[1:]
    program, *rest = words
    program = Path(program).name
    if program in ("python", "python3"):
        return rest
    if program == "kan-images":
        command, *others = rest
        if command == "train":
            script, *others = others
            return [f"{script}.py" if script in entry_names() else script, *others]
        return ["-m", MODULES[command], *others]
    if program == "accelerate" and rest[0] == "launch":
        options = launch_command_parser().parse_args(rest[1:])
    elif program == "torchrun":
        options = get_args_parser().parse_args(rest)
    else:
        return None
    module = ["-m"] if options.module else []
    return [*module, options.training_script, *options.training_script_args]


# ------------------------------------------------------------------------------- without doing it
class _Parsed(BaseException):
    """The words were read; what would be done with them is not."""


@functools.cache
def check_command(words: tuple[str, ...]) -> None:
    """Compose what a command trains, or read its words as the command would; do neither.

    Raises: an error, or SystemExit, where the command would end with one; KeyError for a command
    that nobody has said how to check.
    """
    arguments = as_python(words)
    if arguments is None:
        OTHERS[Path(words[0]).name](words[1:])
    elif arguments[0] == "-m" and arguments[1] in PARSED:
        with mock.patch.multiple(
            argparse.ArgumentParser, **{n: _and_stop(n) for n in ("parse_args", *_MIXED)}
        ):
            _until_parsed(arguments[1], arguments[2:])
    elif arguments[0] == "-m":
        OF_MODULES[arguments[1]](arguments[2:])
    elif arguments[0] == "tune.py":
        _check_search(arguments[1:])
    else:
        assert (ROOT / arguments[0]).is_file(), f"no {arguments[0]}"
        read_command_line(Path(arguments[0]).stem, arguments[1:])


_MIXED = ("parse_intermixed_args",)


def _and_stop(name: str) -> Callable[..., None]:
    read = getattr(argparse.ArgumentParser, name)

    def parse(parser: argparse.ArgumentParser, *args: object, **kwargs: object) -> None:
        read(parser, *args, **kwargs)
        raise _Parsed

    return parse


def _until_parsed(module: str, words: Sequence[str]) -> None:
    with mock.patch.object(sys, "argv", [module, *words]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "'.*' found in sys.modules")  # another test's
        try:
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        except _Parsed:
            return
    raise AssertionError(f"python -m {module} did its work")


def _check_search(words: Sequence[str]) -> None:
    """A space is composed as for a search; what is done afterwards needs one that has ended."""
    with (
        mock.patch.object(tuning, "run_search", side_effect=_Parsed),
        mock.patch.object(tuning, "check_space", _check_space_once),
        mock.patch.object(checks, "SAMPLES", 2),
        mock.patch.object(tuning, "_afterwards", side_effect=_Parsed),
    ):
        try:
            assert tuning.main(words) == 0  # --help
        except _Parsed:
            return


def _check_space_once(request: Request, composer: Composer) -> None:
    """Every end is composed: of spaces that several commands name, once."""
    if str(request.space) not in _SPACES:
        check_space(request, composer)
        _SPACES.add(str(request.space))


_SPACES: set[str] = set()


def _is_target(words: Sequence[str]) -> None:
    rules = (ROOT / "Makefile").read_text()
    for word in words:
        assert "=" in word or re.search(rf"^{re.escape(word)}:", rules, re.M), f"no make {word}"


def _has_extras(words: Sequence[str]) -> None:
    """pip install -e '.[data]': the extras are those of the project."""
    known = set(metadata.metadata("kan-images").get_all("Provides-Extra") or ())
    found = re.findall(r"\[([\w,]+)\]", " ".join(words))
    assert words[0] == "install" and set(",".join(found).split(",")) - {""} <= known


def _is_read_elsewhere(words: Sequence[str]) -> None:
    """Of other programs: nothing here knows their words."""


def _names_a_model(words: Sequence[str]) -> None:
    name, *options = words
    assert names_like(name) if is_pattern(name) else read_options(name, options)


PARSED = (
    "experiments.evaluate", "experiments.predict", "experiments.export", "experiments.report",
    "experiments.benchmarks", "experiments.studies.zoo", "experiments.studies.transformers",
    "experiments.studies.segmentation", "experiments.studies.fit_rational",
)  # fmt: skip
OF_MODULES: dict[str, Callable[[Sequence[str]], None]] = {
    "models": _names_a_model,
    "experiments.tuning": _check_search,
    "pytest": _is_read_elsewhere,  # tests of other files
}
OTHERS: dict[str, Callable[[Sequence[str]], None]] = {
    "make": _is_target,
    "pip": _has_extras,
    "ray": _is_read_elsewhere,  # starts servers on machines
    "tensorboard": _is_read_elsewhere,  # starts a server
    "git": _is_read_elsewhere,  # needs a network
    "cd": _is_read_elsewhere,
    "pytest": _is_read_elsewhere,  # other tests
    "mkdocs": _is_read_elsewhere,  # make docs
}
