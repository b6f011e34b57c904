"""A run of seconds, for tests of the platform."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from experiments.app import launch, run
from experiments.config.compose import load_config
from experiments.runs.ending import Result
from tests import forks
from tests.forks import Ended

TINY = [
    "data=digits", "data.image_size=16", "model=simple_conv_kagn", "model.layer_sizes=[4,4,8,8]",
    "augment=none", "scheduler=constant", "trainer.batch_size=32", "trainer.epochs=1",
    "trainer.limit_steps=4", "trainer.progress=false", "name=run",
]  # fmt: skip


@pytest.fixture
def tiny_run(tmp_path: Path) -> Callable[..., Result]:
    """tiny_run("key=value", ...) runs in this process, in tmp_path."""

    def go(*overrides: str) -> Result:
        config = load_config("cifar", [*TINY, f"runs_dir={tmp_path}", *overrides])
        with unrendered():
            return run(config)

    return go


RENDER = Figure.savefig


@contextmanager
def unrendered() -> Iterator[None]:
    """Figures are made and their files written, but not what is in them: a third of a tiny run.

    Within a test that looks at figures they are drawn all the same.
    """

    def touch(self: Figure, path: Path, **options: object) -> None:
        Path(path).write_bytes(b"a picture")

    with pytest.MonkeyPatch.context() as patch:
        if Figure.savefig is RENDER:
            patch.setattr(Figure, "savefig", touch)
        yield


@pytest.fixture
def figures(monkeypatch):
    """The figures that are drawn, each once, to look at their axes."""
    drawn = []
    save = Figure.savefig

    def note(self, *arguments, **options):
        if self not in drawn:
            drawn.append(self)
        save(self, *arguments, **options)

    monkeypatch.setattr(Figure, "savefig", note)
    return drawn


def command(*arguments: str) -> Ended:
    """Run cifar.py as a user would, but inside this process: imports cost seconds."""
    out, err, argv = io.StringIO(), io.StringIO(), sys.argv
    code = 0
    sys.argv = ["cifar.py", *arguments]
    try:
        with redirect_stdout(out), redirect_stderr(err), unrendered():
            launch("cifar")
    except SystemExit as stop:
        code = int(stop.code or 0)
    finally:
        sys.argv = argv
    return Ended(code, out.getvalue(), err.getvalue())


def shell(*arguments: str, **environment: str) -> Ended:
    """Run a Python command line from the root of the repository, in a process of its own."""
    (done,) = forks.run(*arguments, **environment)
    return done
