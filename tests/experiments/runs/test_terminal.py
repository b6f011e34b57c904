"""A terminal that goes away, names of all kinds and pictures that cannot be drawn end no run."""

from __future__ import annotations

import io
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from experiments.runs.ending import Result
from experiments.runs.terminal import Lasting, lasting_output
from experiments.tasks.classification import Classification
from experiments.training.interrupt import StopSignal
from tests.experiments.conftest import TINY
from tests.experiments.runs.side_by_side import process, side_by_side

Run = Callable[..., Result]


class Broken(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError


def test_output_that_has_gone_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    read, write = os.pipe()
    with os.fdopen(write, "w", buffering=1) as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        with lasting_output():
            print("one", flush=True)
            os.close(read)
            for _ in range(3):
                print("two", flush=True)
            assert not sys.stdout.isatty()
        print("three", flush=True)  # the file itself leads nowhere now
        assert sys.stdout is pipe


def test_what_a_terminal_cannot_show_is_shown_otherwise() -> None:
    shown = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    Lasting(shown).write("\u65e5 \udcff")
    shown.flush()
    assert shown.buffer.getvalue() == b"\\u65e5 \\udcff"  # type: ignore[attr-defined]


def test_a_run_without_a_reader_is_as_any_other(
    tiny_run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, Broken())
    result = tiny_run("trainer.limit_steps=1")
    monkeypatch.undo()
    assert json.loads((result.run_dir / "manifest.json").read_text())["status"] == "finished"


def test_a_closed_pipe_and_a_hangup_in_real_processes(tmp_path: Path) -> None:
    close = """
import os
read, write = os.pipe()
os.close(read)
os.dup2(write, 1)
os.dup2(write, 2)
"""
    hang_up = """
import os, signal
from experiments.training.trainer import Trainer
step = Trainer.train_step
def hung_up(self, batches):
    if self.progress.step == 2:
        os.kill(os.getpid(), signal.SIGHUP)
    return step(self, batches)
Trainer.train_step = hung_up
"""
    nohup = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n" + hang_up
    befores = {"closed": (close, 0), "hung": (hang_up, 129), "nohup": (nohup, 0)}
    (ended,) = side_by_side([
        process(*TINY, f"runs_dir={tmp_path}/{name}", before=before)
        for name, (before, _) in befores.items()
    ])  # fmt: skip
    assert [e.code for e in ended] == [code for _, code in befores.values()], ended
    statuses = []
    for name in befores:
        (path,) = (tmp_path / name / "run").iterdir()
        statuses.append(json.loads((path / "manifest.json").read_text())["status"])
    assert statuses == ["finished", "interrupted", "finished"]
    assert "step 3 is saved" in ended[1].output


def test_a_hangup_is_a_request_unless_it_is_ignored() -> None:
    before = signal.getsignal(signal.SIGHUP)
    try:
        for handler, received in ((signal.SIG_DFL, signal.SIGHUP), (signal.SIG_IGN, None)):
            signal.signal(signal.SIGHUP, handler)
            with StopSignal() as stop:
                os.kill(os.getpid(), signal.SIGHUP)
                assert stop.signal == received
            assert signal.getsignal(signal.SIGHUP) == handler
    finally:
        signal.signal(signal.SIGHUP, before)


# ------------------------------------------------------------------------------------------- names
NAMES = ["$_$", "price_$5_to_$10", "caf\udce9", "\u65e5\u672c", "[/b]", "a_b^c", "\\frac",
         ":smile:", "%s", "{}"]  # fmt: skip


def test_classes_are_called_what_they_are_called(
    tiny_run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    from experiments.tasks import classification

    monkeypatch.setattr(classification, "class_names", lambda *arguments: tuple(NAMES))
    result = tiny_run("trainer.limit_steps=1", "name='[/b] :smile: $x$'")
    assert json.loads((result.run_dir / "test.json").read_text())["class_names"] == NAMES
    assert (result.run_dir / "confusion_matrix.png").stat().st_size > 0
    printed = capsys.readouterr().out
    assert f"run directory: {result.run_dir}" in printed and "could not" not in printed


def test_a_picture_that_fails_is_named_and_the_result_stands(
    tiny_run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def fail(path: Path) -> None:
        (test,) = [json.loads((path.parent / "test.json").read_text())]  # it is there already
        raise ValueError(f"no ink\nfor {len(test['class_names'])}")

    monkeypatch.setattr(Classification, "pictures", lambda self, test: {"art": fail})
    result = tiny_run("trainer.limit_steps=1")
    assert "art.png could not be drawn: ValueError: no ink for 10\n" in capsys.readouterr().out
    assert json.loads((result.run_dir / "manifest.json").read_text())["status"] == "finished"
    assert result.test is not None and not (result.run_dir / "art.png").exists()
