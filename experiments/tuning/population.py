"""Population-based training: trials that take over each other's checkpoints, and how to repeat it.

Ray decides who goes on from whom; what was done stands in the runs. A run that began with another
one's checkpoint names it in its config, so the line of a trial's ancestors is its schedule.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from experiments.files import read_mapping
from experiments.tuning.checks import perturbed
from experiments.tuning.directory import Record, SearchDirectory, run_directories
from experiments.tuning.follower import Order, rows_of
from experiments.tuning.space import Dice, Space, Values, read_space

KEEP_ALL = 1_000_000  # checkpoints of each run: any may be where another one begins


# ------------------------------------------------------------------------------------ while it runs
def mutations(space: Space, seed: int) -> dict[str, Any]:
    """What Ray's scheduler may change: {key: options, or a function that draws a number}."""
    dice = Dice(seed)

    def drawing(key: str) -> Callable[[], Any]:
        distribution = space[key].distribution
        return lambda: distribution.value(distribution.draw(dice, key))

    return {key: list(space[key].distribution.options) or drawing(key) for key in perturbed(space)}


def keep_inside(space: Space) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Brings numbers that were multiplied back within their bounds, and onto their steps."""
    numbers = [key for key in perturbed(space) if not space[key].distribution.options]

    def explore(config: dict[str, Any]) -> dict[str, Any]:
        for key in numbers:
            distribution = space[key].distribution
            config[key] = distribution.value(distribution.nearest(config[key]))
        return config

    return explore


def as_numbers(space: Space, values: Mapping[str, str]) -> dict[str, Any]:
    """Sampled texts as Ray's scheduler changes them."""
    return {key: space[key].distribution.value(text) for key, text in values.items()}


def as_texts(space: Space, config: Mapping[str, Any]) -> Values:
    """The entries of Ray's config that are of the space, as overrides have them."""
    found: Values = {}
    for key in space.keys:
        distribution = space[key].distribution
        found[key] = config[key] if distribution.options else distribution.text(config[key])
    return found


def order_of(search: SearchDirectory, number: int, config: Mapping[str, Any]) -> Order:
    """What a trial is to do with the values that Ray gives it now, which may be another's."""
    space = read_space(search.read()["space"])
    record, values = search.read_record(number), as_texts(space, config)
    rest = [o for o in record.overrides if o.partition("=")[0] not in values]
    return Order(number, [*(f"{key}={text}" for key, text in values.items()), *rest])


# --------------------------------------------------------------------------------- what it has done
def ancestors(run: Path) -> list[dict[str, Any]]:
    """The schedule of a run: its line of runs, the first one first.

    Each is {run, start_from, first, last}: epochs that its part of the line has trained. The last
    one ends with the run's best epoch... of all of it, which `last` of the final entry says.
    """
    line: list[dict[str, Any]] = []
    last: int | None = None
    here: Path | None = run
    while here is not None:
        rows = rows_of(here)
        start = read_mapping(here / "config.yaml")["trainer"].get("start_from")
        entry = {"run": str(here), "start_from": start, "first": min(rows, default=1)}
        line.insert(0, {**entry, "last": max(rows, default=0) if last is None else last})
        last = int(entry["first"]) - 1
        here = None if start is None else Path(start).parent.parent
    return line


def schedule_of(search: SearchDirectory, record: Record) -> dict[str, Any]:
    """How the newest run of a trial came to be: segments of overrides, which can be repeated."""
    run = run_directories(search.run_folder(record.number))[-1]
    space = read_space(search.read()["space"])
    segments = []
    for entry in ancestors(run):
        config = read_mapping(Path(entry["run"]) / "config.yaml")
        values = {key: _text_of(config, key) for key in space.keys}
        run_name = str(Path(entry["run"]).relative_to(search.path))
        segments.append({"run": run_name, "values": values, "first": entry["first"],
                         "last": entry["last"]})  # fmt: skip
    return {"trial": record.number, "common": list(search.read()["common"]), "segments": segments}


def _text_of(config: Mapping[str, Any], key: str) -> str:
    """The value of a key in a saved config, as an override has it."""
    value: Any = config
    for part in key.split("."):
        value = value[part]
    if isinstance(value, dict):  # a group
        return str(value.get("name"))
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return repr(value) if isinstance(value, float) else str(value).replace(" ", "")


def seed_everything(seed: int) -> None:
    """Ray's scheduler draws from Python's generator."""
    random.seed(seed)
