"""Whatever a file of a run holds after damage: what reads it goes on, or says which file it is."""

from __future__ import annotations

import copy
import itertools
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from experiments.app import run
from experiments.config.compose import load_config
from experiments.errors import CheckpointError
from experiments.reporting.read import read_run
from experiments.reporting.report import columns_of, render, summarize
from experiments.runs.directory import RunDirectory, read_config, unfinished
from experiments.training.checkpoint import META, verify
from tests.experiments.conftest import TINY, command

ODD = (None, 5, "x", [], [1], {}, {"a": 1}, 10**400, True)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    return run(load_config("cifar", [*TINY, f"runs_dir={folder}"])).run_dir


@pytest.fixture
def damaged(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "run" / "old"))


def variants(whole: dict[str, Any]) -> Iterator[Any]:
    """Things of other kinds, and the content with another value at each key, two levels deep."""
    odd = itertools.cycle(ODD)
    yield from ODD
    for key, value in whole.items():
        for _ in range(3):  # of nine, beginning elsewhere at each key: their number is no third
            yield {**whole, key: next(odd)}
        for inner in value if isinstance(value, dict) else ():
            changed = copy.deepcopy(whole)
            changed[key][inner] = next(odd)
            yield changed
        next(odd)


def read_all(path: Path) -> None:
    """All that reads a run which is not resumed: reports, searches for it, its result."""
    found = read_run(path)
    render(summarize([found, found]), columns_of([found]), "text")
    directory = RunDirectory(path)
    directory.finished_test(), directory.status(), directory.number(), directory.checkpoints.last()
    unfinished(str(path.parents[1]), path.parent.name)


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("manifest.json", "config.yaml")]


@pytest.mark.parametrize("name", [*SLOW, "test.json", "metrics.jsonl"])
def test_reports_read_any_content(damaged: Path, name: str) -> None:
    file = damaged / name
    text = file.read_text().splitlines()[-1] if name == "metrics.jsonl" else file.read_text()
    for content in variants(yaml.safe_load(text)):
        file.write_text(json.dumps(content))  # JSON is YAML
        read_all(damaged)
        if name == "config.yaml":
            try:
                read_config(file)
            except CheckpointError as error:
                assert str(file) in str(error) and "checkpoint.json" in str(error)


def test_checkpoints_of_any_content_are_whole_or_named(damaged: Path) -> None:
    folder = RunDirectory(damaged).checkpoints.last()
    assert folder is not None
    whole = json.loads((folder / META).read_text())
    for content in variants(whole):
        (folder / META).write_text(json.dumps(content))
        try:
            meta = verify(folder)
        except CheckpointError as error:
            assert str(folder) in str(error)
        else:
            assert all(isinstance(meta[key], dict) for key in ("config", "files"))
        RunDirectory(damaged).checkpoints.foreign()


@pytest.mark.parametrize("name, content, words", [
    (f"checkpoints/step-00000004/{META}", "[" * 100_000, "nested too deeply"),
    (f"checkpoints/step-00000004/{META}", "[1]", "it holds list, not keys with values"),
    ("config.yaml", "trainer: 3", "trainer is 3, not keys with values"),
])  # fmt: skip
def test_a_resume_names_the_file(damaged: Path, name: str, content: str, words: str) -> None:
    (damaged / "test.json").unlink()
    (damaged / name).write_text(content)
    done = command(*TINY, f"trainer.resume={damaged}")
    assert done.returncode == 2 and words in done.stderr and str(damaged) in done.stderr
    assert "Traceback" not in done.stderr
