"""Whole searches under Ray, over fake runs: what is suggested is trained, failures are told."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from experiments.config.compose import load_config
from experiments.config.parse import to_dict
from experiments.tuning import launch
from experiments.tuning.config import TuneConfig
from experiments.tuning.directory import Record, SearchDirectory, run_directories
from experiments.tuning.ray_search import ray_running
from tests.experiments.tuning.conftest import FAKE

LR = "tune.space.optimizer.lr=loguniform(1e-4, 1)"
DEGREE = "tune.space.model.degree=choice(2, 3, 4)"


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the config of all trials, which the fake runs would else each compose."""
    path = tmp_path_factory.mktemp("config") / "config.yaml"
    path.write_text(yaml.safe_dump(to_dict(load_config("cifar", ["data=digits"]))))
    return path


@pytest.fixture(scope="module")
def ray() -> Iterator[None]:
    with ray_running(TuneConfig(jobs=2)):
        yield


@pytest.fixture
def search(
    ray: None, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., SearchDirectory]:
    """search("tune.trials=3", ..., trouble={"1": "raise"}) -> the directory of a search."""
    names = ("FAKE_CONFIG", "FAKE_TROUBLE", "FAKE_SECONDS")
    monkeypatch.setattr(launch, "ENVIRONMENT", (*launch.ENVIRONMENT, *names))

    def go(*words: str, trouble: dict[str, str] | None = None, seconds: float = 0) -> Any:
        environment = {"FAKE_CONFIG": str(config), "FAKE_TROUBLE": json.dumps(trouble or {})}
        for name, value in {**environment, "FAKE_SECONDS": str(seconds)}.items():
            monkeypatch.setenv(name, value)
        code = launch.main([
            "--script", str(FAKE), "data=digits", "trainer.epochs=3", "tune.objectives=[loss]",
            f"tune.directory={tmp_path}", *words,
        ])  # fmt: skip
        assert code == 0
        return SearchDirectory(sorted(tmp_path.glob("search-*/*"))[-1])

    return go


def config_of(search: SearchDirectory, record: Record) -> dict[str, Any]:
    run = run_directories(search.run_folder(record.number))[-1]
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert isinstance(config, dict)
    return config


def test_trials_train_with_what_was_suggested_and_failures_end_nothing(
    search: Callable[..., SearchDirectory], capsys: pytest.CaptureFixture[str]
) -> None:
    found = search(LR, DEGREE, "tune.trials=5", "tune.search=tpe",
                   trouble={"1": "raise", "2": "memory", "3": "killed once",
                            "4": "patience"})  # fmt: skip
    records = found.read_records()
    assert [r.status for r in records] == ["finished", "failed", "failed", "finished", "finished"]
    assert "a layer of the user's own" in records[1].message
    assert "memory has run out" in records[2].message
    assert [r.epochs for r in records] == [3, 1, 1, 3, 2] and records[4].best_epoch == 2
    assert records[4].figures["loss"] is not None
    for record in records:
        config = config_of(found, record)
        assert repr(config["optimizer"]["lr"]) == record.values["optimizer.lr"]
        assert str(config["model"]["degree"]) == record.values["model.degree"]
        assert config["trainer"]["threads"] == 1 and config["trainer"]["test"] is False
    study = [json.loads(line) for line in found.optuna.read_text().splitlines()]
    suggested = {op["param_value_internal"] for op in study
                 if op.get("param_name") == "optimizer.lr"}  # fmt: skip
    assert suggested == {float(r.values["optimizer.lr"]) for r in records}
    said = capsys.readouterr().out
    best = min((r for r in records if r.status == "finished"), key=lambda r: r.figures["loss"] or 0)
    assert f"optimizer.lr={best.values['optimizer.lr']}" in said.partition("best: python")[2]
    assert "5 trials: 3 finished, 2 failed" in said and found.table.is_file()
    assert not found.ray.exists() and found.read()["best"] == best.number


def test_a_finished_part_is_told_again_and_not_trained(
    search: Callable[..., SearchDirectory],
) -> None:
    first = search(LR, "tune.trials=1", "tune.scheduler=asha", "tune.name=again")
    trained = {p: p.read_text() for p in first.runs.rglob("trained.log")}
    values = [r.values for r in first.read_records()]
    first.write(status="interrupted")
    second = search(LR, "tune.trials=2", "tune.scheduler=asha", "tune.name=again",
                    "tune.resume=auto")  # fmt: skip
    assert second.path == first.path
    records = second.read_records()
    assert [r.values for r in records[:1]] == values and len(records) == 2
    assert {p: p.read_text() for p in trained} == trained


@pytest.mark.slow
def test_a_population_takes_over_checkpoints_and_its_schedule_repeats(
    search: Callable[..., SearchDirectory], capsys: pytest.CaptureFixture[str]
) -> None:
    found = search(LR, DEGREE, "tune.trials=3", "tune.scheduler=pbt", "trainer.epochs=5",
                   "tune.jobs=2", seconds=0.3)  # fmt: skip
    records = found.read_records()
    assert {r.status for r in records} == {"finished"}
    begun = [config["trainer"]["start_from"] for config in (config_of(found, r) for r in records)]
    taken = [Path(path) for path in begun if path is not None]
    assert taken, "nobody took over a checkpoint"
    for path in taken:
        assert found.runs in path.parents and path.parent.name == "checkpoints"
    schedule = json.loads(found.schedule.read_text())
    first, last = schedule["segments"][0], schedule["segments"][-1]
    assert (first["first"], last["last"]) == (1, 5)
    capsys.readouterr()
    assert launch.main(["--replay", str(found.path)]) == 0
    assert "weights after epoch 5: the same" in capsys.readouterr().out


@pytest.mark.slow
def test_a_grid_is_all_of_its_points(search: Callable[..., SearchDirectory]) -> None:
    found = search(DEGREE, "tune.search=grid", "tune.trials=null", "trainer.epochs=1")
    assert [r.values["model.degree"] for r in found.read_records()] == ["2", "3", "4"]
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
