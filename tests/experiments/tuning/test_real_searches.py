"""Searches that train on digits: their results rerun to the last digit, whatever was killed."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from experiments.config.compose import load_config
from experiments.config.parse import to_dict
from experiments.files import read_rows, write_json
from experiments.tuning.directory import SearchDirectory, run_directories
from experiments.tuning.population import schedule_of
from experiments.tuning.process import Child
from tests.experiments.tuning.conftest import FAKE

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[3]
REAL = ["data=digits", "data.image_size=16", "model.layer_sizes=[4,4,8,8]", "augment=none",
        "trainer.epochs=3", "tune.objectives=[loss]"]  # fmt: skip
LR = "tune.space.optimizer.lr=loguniform(1e-4, 1e-1)"
Tune = Callable[..., Child]


@pytest.fixture
def tune(tmp_path: Path) -> Iterator[Tune]:
    """tune(word, ..., variable=value) begins `python tune.py` in tmp_path."""
    started: list[Child] = []

    def begin(*words: str, **variables: str) -> Child:
        environment = {**os.environ, "COLUMNS": "200", **variables}
        command = [sys.executable, "tune.py", *words]
        if "--replay" not in words and "--retrain" not in words:
            command.append(f"tune.directory={tmp_path}")
        started.append(Child(command, ROOT, environment, tmp_path / f"log-{len(started)}"))
        return started[-1]

    yield begin
    for child in started:
        child.kill()


def ended(child: Child) -> str:
    """What a command said, once it has ended well."""
    child.process.wait()
    assert child.poll() == 0, child.said()
    return child.said()


def the_search(tmp_path: Path) -> SearchDirectory:
    return SearchDirectory(next(tmp_path.glob("search-*/*/search.json")).parent)


def wait_for(condition: Callable[[], bool], seconds: float = 300) -> None:
    for _ in range(int(10 * seconds)):
        if condition():
            return
        time.sleep(0.1)
    raise AssertionError("it did not happen")


def done(tmp_path: Path, count: int) -> bool:
    found = list(tmp_path.glob("search-*/*/search.json"))
    return bool(found) and sum(r.ended for r in the_search(tmp_path).read_records()) >= count


def losses(run: Path) -> list[float]:
    rows = read_rows(run / "metrics.jsonl")
    return [row["loss"] for row in rows if row["split"] == "validation"]


def test_the_printed_command_gives_the_same_score(tmp_path: Path, tune: Tune) -> None:
    said = ended(tune(*REAL, LR, "tune.trials=3", "tune.search=tpe", "tune.scheduler=asha"))
    search = the_search(tmp_path)
    best = search.read_record(search.read()["best"])
    (line,) = re.findall(r"^best: python (.*)$", said, re.M)
    command = [sys.executable, *shlex.split(line), f"runs_dir={tmp_path}/again", "name=again"]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (again,) = (tmp_path / "again/again").iterdir()
    assert losses(again) == losses(search.path / str(best.run))
    assert (again / "test.json").exists() and not list(search.runs.rglob("test.json"))
    facts = {json.dumps(json.loads(p.read_text())["facts"]["data"])
             for p in search.runs.rglob("manifest.json")}  # fmt: skip
    assert len(facts) == 1

    said = ended(tune("--retrain", str(search.path), "--seeds", "2"))
    tests = list(search.retrained.rglob("test.json"))
    assert len(tests) == 2 and "±" in said
    stamps = [path.stat().st_mtime_ns for path in tests]
    ended(tune("--retrain", str(search.path), "--seeds", "2"))
    assert [path.stat().st_mtime_ns for path in tests] == stamps


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_search_that_was_ended_goes_on(
    tmp_path: Path, tune: Tune, number: signal.Signals
) -> None:
    words = [*REAL, LR, "tune.trials=5", "tune.search=tpe", "tune.jobs=2", "trainer.epochs=4"]
    first = tune(*words)
    wait_for(lambda: done(tmp_path, 2))
    first.process.send_signal(number)
    code = first.process.wait()
    assert code == (-9 if number == signal.SIGKILL else 128 + number), first.said()
    search = the_search(tmp_path)
    before = {r.number: r for r in search.read_records()}
    rows = {r: (search.path / str(before[r].run) / "metrics.jsonl").read_bytes()
            for r in before if before[r].ended}  # fmt: skip
    if number == signal.SIGINT:
        assert "interrupted" in {r.status for r in before.values()}
    ended(tune(*words, "tune.resume=auto"))
    after = search.read_records()
    assert [r.status for r in after] == ["finished"] * 5
    assert all(after[n].values == record.values for n, record in before.items())
    assert all((search.path / str(after[n].run) / "metrics.jsonl").read_bytes() == text
               for n, text in rows.items())  # fmt: skip
    assert all(len(run_directories(search.run_folder(n))) == 1 for n in range(5))
    assert len({r.values["optimizer.lr"] for r in after}) == 5
    lines = [json.loads(line) for line in search.optuna.read_text().splitlines()]
    assert max(line.get("trial_id", 0) for line in lines) == 4, "five trials were asked for"


def test_a_population_repeats_to_the_same_weights(tmp_path: Path, tune: Tune) -> None:
    """Epochs last long enough for trials that do not start at the same moment to meet."""
    ended(tune(*REAL, LR, "model.layer_sizes=[8,16,16,32]", "tune.trials=2", "tune.scheduler=pbt",
               "trainer.epochs=16", "tune.interval=2"))  # fmt: skip
    search = the_search(tmp_path)
    schedules = [schedule_of(search, record) for record in search.read_records()]
    longest = max(schedules, key=lambda schedule: len(schedule["segments"]))
    assert len(longest["segments"]) > 1, "nobody took over a checkpoint"
    write_json(search.schedule, longest)
    said = ended(tune("--replay", str(search.path)))
    assert "weights after epoch 16: the same" in said


def test_two_objectives_have_a_front(tmp_path: Path, tune: Tune) -> None:
    said = ended(tune(*REAL, LR, "tune.space.model.degree=choice(2, 3)", "tune.trials=4",
                      "tune.search=tpe", "tune.objectives=[accuracy,parameters]"))  # fmt: skip
    assert "Pareto front" in said and (the_search(tmp_path).path / "pareto.png").exists()


def test_lost_memory_is_reported_and_the_search_ends(tmp_path: Path, tune: Tune) -> None:
    """Ray's monitor finds all memory but a hundredth in use, and ends whoever works."""
    child = tune("--script", str(FAKE), "data=digits", "trainer.epochs=3", LR, "tune.trials=2",
                 "tune.retries=0", RAY_memory_usage_threshold="0.01",
                 RAY_memory_monitor_refresh_ms="100")  # fmt: skip
    assert child.process.wait(300) == 2, child.said()
    records = the_search(tmp_path).read_records()
    assert [r.status for r in records] == ["failed", "failed"]
    assert all("lost" in r.message and "emory" in r.message for r in records)


def test_trials_of_a_node_that_is_lost_move(tmp_path: Path, tune: Tune) -> None:
    from ray.cluster_utils import Cluster

    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(to_dict(load_config("cifar", ["data=digits"]))))
    environment = {"FAKE_SECONDS": "2", "FAKE_CONFIG": str(config)}
    os.environ.update(environment)  # of the nodes, whose workers begin the trials
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        node = cluster.add_node(num_cpus=1)
        cluster.wait_for_nodes()
        child = tune(
            "--script", str(FAKE), "data=digits", "trainer.epochs=8", LR, "tune.trials=4",
            f"tune.address={cluster.address}", "tune.retries=2", **environment,
        )  # fmt: skip
        wait_for(lambda: len(list(tmp_path.rglob("trained.log"))) >= 2)
        cluster.remove_node(node, allow_graceful=False)
        said = ended(child)
    finally:
        cluster.shutdown()
        for name in environment:
            del os.environ[name]
    search = the_search(tmp_path)
    assert [r.status for r in search.read_records()] == ["finished"] * 4, said
    for number in range(4):
        lines = [line for run in run_directories(search.run_folder(number))
                 for line in (run / "trained.log").read_text().splitlines()]  # fmt: skip
        assert [int(line.split()[1]) for line in lines] == list(range(1, 9)), "an epoch again"
