"""What a run says of its time: the share that it waited for its samples."""

from __future__ import annotations

import io
import json
from pathlib import Path

from rich.console import Console

from experiments.runs.directory import RunDirectory
from experiments.runs.tracking import RunLog
from experiments.tasks.rows import TASKS


def log_of(path: Path, **options: bool) -> tuple[RunLog, io.StringIO]:
    text = io.StringIO()
    console = Console(file=text, soft_wrap=True)
    log = RunLog(
        RunDirectory(path), main=options.get("main", True), row=TASKS["classification"],
        steps_per_epoch=2, epochs=2, batch_size=8, progress=False, console=console,
    )  # fmt: skip
    return log, text


def train(log: RunLog, seconds: float, waited: float) -> None:
    for step in (1, 2):
        log.step_done(0, step, lambda: 1.0, 0.1, seconds, waited)
    log.row("train", 1, 2, {"loss": 1.0, "accuracy": 0.5, "lr": 0.1})
    log.row("validation", 1, 2, {"loss": 1.0, "accuracy": 0.5})


def test_the_share_of_an_epoch_stands_in_its_line_and_row(tmp_path: Path) -> None:
    log, text = log_of(tmp_path)
    train(log, seconds=100.0, waited=30.0)
    train(log, seconds=100.0, waited=10.0)
    assert [line.rstrip()[-9:] for line in text.getvalue().splitlines()] == [
        "data 30 %",
        "data 10 %",
    ]
    rows = [json.loads(line) for line in (tmp_path / "timing.jsonl").open()]
    assert [(row["data_seconds"], row["data_share"]) for row in rows] == [(60, 0.3), (20, 0.1)]
    assert log.data_share() == 0.2
    assert "data" not in (tmp_path / "metrics.jsonl").read_text()  # which no clock determines


def test_only_much_waiting_is_worth_a_line(tmp_path: Path) -> None:
    for seconds, waited, main, told in (
        (100.0, 40.0, True, True), (100.0, 20.0, True, False), (10.0, 9.0, True, False),
        (100.0, 40.0, False, False),
    ):  # fmt: skip
        log, text = log_of(tmp_path, main=main)
        train(log, seconds, waited)
        log.tell_waiting()
        line = "waiting for images took 40 % of the training time (80 s): raise data.workers"
        assert (line in text.getvalue()) == told
    assert log_of(tmp_path)[0].data_share() is None
