"""A population's settings stay within the space; the line of its runs is its schedule."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from experiments.errors import ConfigError
from experiments.tuning.directory import Record, SearchDirectory
from experiments.tuning.follower import Follower, Order
from experiments.tuning.population import (
    ancestors,
    as_numbers,
    as_texts,
    keep_inside,
    mutations,
    order_of,
    schedule_of,
)
from experiments.tuning.retrain import replay
from experiments.tuning.space import read_space
from tests.experiments.tuning.conftest import overrides

TEXTS = {
    "optimizer.lr": "loguniform(1e-3, 1)",
    "model.degree": "choice(2, 3)",
    "penalty.l1_decay": "choice(0, 1e-6)",
    "augment.crop_padding": "randint(0, 4)",
}
SPACE = read_space(TEXTS)


def test_what_changes_while_a_trial_trains_stays_within_the_space() -> None:
    found = mutations(SPACE, 0)
    assert set(found) == set(TEXTS) - {"model.degree"}  # weights depend on it
    assert found["penalty.l1_decay"] == ["0", "1e-6"]
    assert all(1e-3 <= found["optimizer.lr"]() <= 1 for _ in range(50))
    values = {"optimizer.lr": "0.5", "model.degree": "2", "penalty.l1_decay": "0",
              "augment.crop_padding": "4"}  # fmt: skip
    numbers = as_numbers(SPACE, values)
    assert as_texts(SPACE, numbers) == values
    changed = keep_inside(SPACE)({**numbers, "optimizer.lr": 1.2, "augment.crop_padding": 5})
    assert (changed["optimizer.lr"], changed["augment.crop_padding"]) == (1.0, 4)


@pytest.fixture
def line(search: SearchDirectory, follow: Callable[..., Follower]) -> Path:
    """Trial 1 goes on from trial 0's second epoch with a rate of its own; the run of it."""
    search.write(space={"optimizer.lr": "loguniform(1e-3, 1)"}, common=["trainer.epochs=3"])
    good, poor = follow(0, 0.01), follow(1, 1.0)
    good.epoch(2), poor.epoch(2)
    checkpoint = str(good.checkpoint(2))
    poor.begin_anew(Order(1, overrides(search, 1, 0.1), checkpoint))
    assert poor.epoch(3)["ended"] == "finished"
    run = poor.run()
    assert run is not None
    return run


def test_a_schedule_is_the_line_of_runs_and_repeats(
    search: SearchDirectory, line: Path, tmp_path: Path
) -> None:
    found = ancestors(line)
    assert [(e["first"], e["last"]) for e in found] == [(1, 2), (3, 3)]
    trial = Record(1, {"optimizer.lr": "0.1"}, overrides(search, 1, 0.1), status="finished")
    search.write_record(trial)
    schedule = schedule_of(search, trial)
    assert [s["values"]["optimizer.lr"] for s in schedule["segments"]] == ["0.01", "0.1"]
    with pytest.raises(ConfigError, match="has no schedule"):
        replay(search.path, Console())
    search.schedule.write_text(json.dumps(schedule))
    assert replay(search.path, Console(file=(tmp_path / "said").open("w")))
    schedule["segments"][0]["values"]["optimizer.lr"] = "0.02"
    search.schedule.write_text(json.dumps(schedule))
    assert not replay(search.path, Console(file=(tmp_path / "said").open("w")))


def test_a_trial_that_takes_over_another_keeps_its_own_place(search: SearchDirectory) -> None:
    search.write(space={"optimizer.lr": "loguniform(1e-3, 1)"})
    search.write_record(Record(4, {"optimizer.lr": "0.5"}, overrides(search, 4, 0.5)))
    order = order_of(search, 4, {"number": 9, "optimizer.lr": 0.25})
    assert order.number == 4 and order.overrides[0] == "optimizer.lr=0.25"
    assert "name=trial-004" in order.overrides and "optimizer.lr=0.5" not in order.overrides
