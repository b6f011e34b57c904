"""A trial is followed by its run directory: told, taken up, ended, whatever happens to it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from experiments.tuning.directory import SearchDirectory, run_directories
from experiments.tuning.follower import Follower, Order, explain_exit
from experiments.tuning.process import Child
from tests.forks import is_alive

Follow = Callable[..., Follower]


def epochs(follower: Follower) -> list[dict]:
    """All that is told of a trial, to its end."""
    told = [follower.epoch(1)]
    while not told[-1]["done"]:
        told.append(follower.epoch(len(told) + 1))
    return told


def trained(search: SearchDirectory, number: int) -> list[int]:
    """The epochs that were trained, in their order, over all runs of a trial."""
    return [int(line.split()[1]) for run in run_directories(search.run_folder(number))
            for line in (run / "trained.log").read_text().splitlines()]  # fmt: skip


def test_every_epoch_is_told_and_none_is_trained_twice(
    search: SearchDirectory, follow: Follow
) -> None:
    told = epochs(follow(0, 0.1))
    assert [(row["epoch"], row["loss"]) for row in told] == [(1, 1.0), (2, 0.5), (3, 1 / 3)]
    assert [row["ended"] for row in told] == ["", "", "finished"]
    assert told[0]["parameters"] == 3000
    again = follow(0, 0.1)
    assert epochs(again) == told and again.child is None
    assert trained(search, 0) == [1, 2, 3]
    once = follow(0, 0.1)
    once.order.until, once.order.status, once.order.message = 2, "stopped", "by asha"
    assert [row["ended"] for row in epochs(once)] == ["", "stopped"]


@pytest.mark.parametrize("kind, status, words", [
    ("raise", "failed", "ValueError: a layer of the user's own"),
    ("nan", "failed", "the loss is nan at step 4"),
    ("memory", "failed", "memory has run out"),
    ("killed", "failed", "ended by signal 9"),
    ("hang", "timeout", "tune.trial_seconds=4"),
])  # fmt: skip
def test_a_trial_that_ends_badly_is_reported(
    follow: Follow, monkeypatch: pytest.MonkeyPatch, kind: str, status: str, words: str
) -> None:
    monkeypatch.setenv("FAKE_TROUBLE", json.dumps({"1": kind}))
    limit = {"trial_seconds": 4.0} if kind == "hang" else {}
    follower = follow(1, retries=0, **limit)
    told = epochs(follower)
    assert [row["ended"] for row in told] == ["", status] and words in told[-1]["message"]
    assert follower.child is None


def test_a_trial_that_was_killed_goes_on_where_it_was(
    search: SearchDirectory, follow: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_TROUBLE", json.dumps({"2": "killed once"}))
    told = epochs(follow(2, retries=1))
    assert told[-1]["ended"] == "finished" and trained(search, 2) == [1, 2, 3]
    assert len(run_directories(search.run_folder(2))) == 1


def test_a_run_that_patience_ends_is_finished(
    search: SearchDirectory, follow: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has no row of the epochs that it leaves out, and another start would add none."""
    monkeypatch.setenv("FAKE_TROUBLE", json.dumps({"6": "patience"}))
    starts, start = [], Follower._start

    def once(follower: Follower, run: Path | None) -> Child:
        assert not starts, "what has finished is started again"
        starts.append(run)
        return start(follower, run)

    monkeypatch.setattr(Follower, "_start", once)
    told = epochs(follow(6))
    assert [(row.get("epoch"), row["ended"]) for row in told] == [
        (1, ""), (2, ""), (None, "finished")]  # fmt: skip
    assert trained(search, 6) == [1, 2]
    again = follow(6)
    assert epochs(again) == told and again.child is None


def test_another_trials_checkpoint_begins_a_run_of_its_own(
    search: SearchDirectory, follow: Follow
) -> None:
    good, poor = follow(3, 0.01), follow(4, 1.0)
    good.epoch(2), poor.epoch(2)
    checkpoint = good.checkpoint(2)
    poor.begin_anew(Order(4, [*poor.order.overrides, "optimizer.lr=0.1"], str(checkpoint)))
    last = poor.epoch(3)
    assert last["ended"] == "finished" and last["loss"] == 1 / 3
    runs = run_directories(search.run_folder(4))
    meta = json.loads((runs[-1] / "checkpoints/step-00000003/checkpoint.json").read_text())
    assert len(runs) == 2 and meta["history"] == [0.01, 0.01, 0.1]


def test_a_search_that_stops_ends_its_trials(search: SearchDirectory, follow: Follow) -> None:
    follower = follow(5)
    search.stop.touch()
    assert follower.epoch(1)["ended"] == "interrupted" and follower.child is None


PARENT = """
import sys, time
from pathlib import Path
from experiments.tuning.process import Child
command = [sys.executable, "-c", "import time; time.sleep(600)"]
child = Child(command, Path("."), {}, Path(sys.argv[1]))
print(child.process.pid, flush=True)
time.sleep(600)
"""  # fmt: skip


def test_a_process_ends_with_the_one_that_watches_it(tmp_path: Path) -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path / "log")],
                              stdout=subprocess.PIPE, text=True)  # fmt: skip
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert is_alive(child)
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    for _ in range(600):
        if not is_alive(child):
            break
        time.sleep(0.1)
    assert not is_alive(child)


def test_a_process_is_asked_first_and_its_helpers_end_with_it(tmp_path: Path) -> None:
    code = (
        "import subprocess\np = subprocess.Popen(['sleep', '600'])\n"
        "print(p.pid, flush=True)\np.wait()"
    )
    child = Child([sys.executable, "-c", code], tmp_path, dict(os.environ), tmp_path / "log")
    while not child.said().strip():
        time.sleep(0.05)
    helper = int(child.said())
    assert child.end() == -signal.SIGTERM
    for _ in range(100):
        if not is_alive(helper):
            break
        time.sleep(0.05)
    assert not is_alive(helper)


def test_exit_codes_in_words() -> None:
    assert explain_exit(2, "some\nerror: no such thing; type it\nagain") == (
        "no such thing; type it\nagain", False)  # fmt: skip
    assert explain_exit(-9, "")[1] and explain_exit(143, "")[1]
    assert explain_exit(1, "Traceback\n  x\nMemoryError")[1]
    assert explain_exit(1, "") == ("its process ended with code 1: it printed nothing", False)
