"""A study's queue: what is run, what is not run again, how it ends. A stub is the entry script."""

import json
import os
import sys
import time

import pytest

from experiments.runs.lock import RunLock
from experiments.studies import children, record
from experiments.studies.children import Place, Queue, duration
from experiments.studies.setting import Setting
from tests.experiments.conftest import TINY

# What the entry script would do, in a moment: note the call, and write a run directory, or not.
STUB = """
import json, os, pathlib, signal, sys, time
here = pathlib.Path(__file__).parent
words = dict(word.split("=", 1) for word in sys.argv[2:])
with open(here / "calls", "a") as calls:
    print(words["name"].rpartition("/")[0], words["seed"], file=calls)
kind = words["name"].split("/")[1]
if kind == "fails":
    print("error: it is too large\\nand more")
    sys.exit(2)
if kind == "crashes":
    os.kill(os.getpid(), signal.SIGKILL)
if kind in ("stops", "early") and not (here / "stopped").exists():
    (here / "stopped").touch()
    if kind == "stops":
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    os.kill(os.getppid(), signal.SIGINT)
    time.sleep(60)
run = pathlib.Path(words["runs_dir"], words["name"], "run-seed" + words["seed"])
run.mkdir(parents=True)
config = {"seed": int(words["seed"]), "task": {"name": "classification"}, "trainer": {"epochs": 3}}
(run / "config.yaml").write_text(json.dumps(config))
(run / "manifest.json").write_text((here / "manifest").read_text())
(run / "test.json").write_text('{"epoch": 1, "metrics": {"accuracy": 0.75}}')
"""
OVERRIDES = ("data=digits", "trainer.epochs=3")
MANIFEST = {
    "status": "finished", "parameters": 123, "macs": 45, "wall_seconds": 6.5, "threads": 1,
    "finished": "2026-01-01T00:00:00+00:00", "git": {"sha": "0123456789abcdef", "dirty": True},
    "hardware": {"cpu": "a processor"}, "versions": {"torch": "2"},
    "facts": {"data": {"images": [100, 10, 20]}},
}  # fmt: skip


@pytest.fixture
def study(tmp_path, monkeypatch):
    """study(kinds, seeds=(0,), ...) runs them and returns the exit code and what was said."""
    (tmp_path / "stub.py").write_text(STUB)
    (tmp_path / "manifest").write_text(json.dumps(MANIFEST))
    (tmp_path / "calls").touch()
    monkeypatch.setattr(children, "PYTHON", (sys.executable, "-S", str(tmp_path / "stub.py")))
    place = Place(tmp_path / "rows.csv", tmp_path / "runs")

    class Study:
        table, runs = place.table, place.runs

        def __call__(self, *kinds, seeds=(0,), **options):
            said = []
            todo = [setting(kind, seed) for seed in seeds for kind in kinds]
            return Queue(place, say=said.append, **options).work(todo), said

        def calls(self):
            return (tmp_path / "calls").read_text().split("\n")[:-1]

        def rows(self):
            return record.read(place.table)

    return Study()


def setting(kind, seed=0, overrides=OVERRIDES):
    return Setting({"data": "digits", "kind": kind}, seed, overrides)


def test_every_run_becomes_a_row_and_none_is_run_twice(study):
    code, said = study("kan", "plain", seeds=(0, 1), jobs=2)
    assert code == 0 and said[0] == "0 of 4 rows are finished"
    assert sorted(study.calls()) == [f"digits/{k} {s}" for k in ("kan", "plain") for s in "01"]
    assert sum("75.00% in 6 s" in line or "75.00% in 7 s" in line for line in said) == 4
    first = next(row for row in study.rows() if row["kind"] == "kan" and row["seed"] == 0)
    assert first == {
        "data": "digits", "kind": "kan", "seed": 0, "status": "finished", "test": 0.75,
        "validation": None, "parameters": 123, "macs": 45, "images": 300, "seconds": 6.5,
        "threads": 1, "cpu": "a processor", "torch": "2", "commit": "0123456789ab+",
        "time": "2026-01-01T00:00:00+00:00", "error": "",
        "overrides": "data=digits trainer.epochs=3",
    }  # fmt: skip
    code, said = study("kan", "plain", "new", seeds=(0, 1))
    assert said[0] == "4 of 6 rows are finished" and len(study.calls()) == 6
    assert "left" in said[1] and "left" not in said[2]


def test_a_row_of_other_overrides_is_not_this_one(study):
    study("kan")
    queue = Queue(Place(study.table, study.runs), say=lambda line: None)
    queue.work([setting("kan", overrides=("data=digits", "trainer.epochs=4"))])
    assert len(study.calls()) == 2


def test_a_failed_run_is_a_row_and_the_study_goes_on(study):
    code, said = study("fails", "crashes", "kan")
    assert code == 0 and len(study.calls()) == 3
    rows = {row["kind"]: row for row in study.rows()}
    assert rows["fails"]["status"] == "failed" and rows["fails"]["error"] == "it is too large"
    assert rows["fails"]["test"] is None
    assert rows["crashes"]["error"].startswith("ended by signal 9")
    assert rows["kan"]["status"] == "finished"
    assert any("digits/fails seed 0 failed: it is too large" in line for line in said)
    study("fails", "kan")
    assert study.calls()[3:] == ["digits/fails 0"]  # it is tried again


@pytest.mark.parametrize("kind", ["stops", "early"])  # early: before it minds signals
def test_a_signal_stops_the_run_politely_and_the_next_call_goes_on(study, kind):
    code, said = study(kind, "kan")
    assert code == 130 and study.calls() == [f"digits/{kind} 0"] and not study.rows()
    assert "stopped on request: 1 running ends first; 1 row is left for the next call" in said
    assert f"digits/{kind} seed 0 was stopped" in said
    assert study(kind, "kan")[0] == 0
    assert [row["kind"] for row in study.rows()] == [kind, "kan"]


def test_no_run_is_started_when_the_time_is_over(study):
    code, said = study("kan", "plain", seconds=0)
    assert code == 0 and not study.calls()
    assert said[1] == "the time is over: 2 rows are left for the next call"


def test_a_run_that_finished_without_its_row_gets_it(study):
    study("kan")
    study.table.unlink()
    (file,) = study.runs.glob("digits/kan/*/run-*/manifest.json")
    file.write_text(json.dumps({**MANIFEST, "resumed": [{"time": "later"}]}))
    _, said = study("kan")
    assert len(study.calls()) == 1 and said[1].startswith("digits/kan seed 0 had finished")
    (row,) = study.rows()
    assert row["test"] == 0.75 and row["seconds"] is None  # the manifest knows a part


def test_a_run_that_another_process_trains_is_passed_over(study):
    study("kan")
    study.table.unlink()
    (run,) = study.runs.glob("digits/kan/*/run-*")
    (run / "manifest.json").write_text(json.dumps({**MANIFEST, "status": "running"}))
    lock = RunLock(run)
    lock.take()
    try:
        _, said = study("kan")
    finally:
        lock.release()
    assert f"passed over: this process ({os.getpid()}) trains it" in said[1]
    assert len(study.calls()) == 1 and not study.rows()


@pytest.mark.parametrize(
    ("seconds", "text"), [(59, "59 s"), (125, "2 min"), (3725, "1 h 2 min"), (7199, "2 h 0 min")]
)
def test_durations(seconds, text):
    assert duration(seconds) == text


@pytest.mark.slow
def test_a_run_of_the_entry_script_that_was_killed_goes_on(tmp_path):
    overrides = (*(word for word in TINY if not word.startswith("name=")), "trainer.epochs=30")
    todo = Setting({"data": "digits"}, 1, overrides)
    place = Place(tmp_path / "rows.csv", tmp_path / "runs")
    said: list[str] = []
    queue = Queue(place, say=said.append)
    queue.start(todo)
    while not list(place.runs.glob("**/checkpoints/step-*")):
        time.sleep(0.1)
    killed = queue.active.pop().process
    killed.kill()
    killed.wait()
    assert queue.work([todo]) == 0
    (row,) = record.read(place.table)
    assert row["status"] == "finished" and row["images"] == 30 * 1294 and row["parameters"]
    (run,) = place.runs.glob("**/manifest.json")
    assert len(json.loads(run.read_text())["resumed"]) == 1
