"""A search of fake runs, without Ray."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from experiments.tuning.directory import SearchDirectory, make_search
from experiments.tuning.follower import Follower, Launch, Order

FAKE = Path(__file__).with_name("fake.py")
EPOCHS = 3


@pytest.fixture
def search(tmp_path: Path) -> SearchDirectory:
    found = make_search(str(tmp_path), "fake")
    launch = Launch(str(FAKE), str(tmp_path), EPOCHS)
    found.write(launch=launch.__dict__, status="running")
    return found


@pytest.fixture
def follow(search: SearchDirectory) -> Iterator[Callable[..., Follower]]:
    """follow(number, lr, retries=0, ...) follows a trial of the search."""
    followers: list[Follower] = []

    def start(number: int, lr: float = 0.1, start_from: str | None = None, **launch) -> Follower:
        order = Order(number, overrides(search, number, lr), start_from)
        followers.append(
            Follower(search, Launch(str(FAKE), str(search.path), EPOCHS, **launch), order)
        )
        return followers[-1]

    yield start
    for follower in followers:
        follower.close()


def overrides(search: SearchDirectory, number: int, lr: float) -> list[str]:
    folder = search.run_folder(number)
    return [f"optimizer.lr={lr}", f"trainer.epochs={EPOCHS}", f"runs_dir={folder.parent}",
            f"name={folder.name}"]  # fmt: skip
