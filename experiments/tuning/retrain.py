"""After a search: the best setting on all training images, tested once; a population's schedule."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from experiments.errors import ConfigError, TrainingError
from experiments.files import read_mapping
from experiments.reporting.read import read_run
from experiments.reporting.report import MIN_WIDTH, columns_of, render, summarize
from experiments.tuning.directory import (
    FINISHED,
    SearchDirectory,
    run_directories,
    trial_name,
)
from experiments.tuning.follower import (
    Follower,
    Launch,
    Order,
    explain_exit,
    read_launch,
    rows_of,
    status_of,
)
from experiments.tuning.process import Child, entry_command, environment, path_override


def retrain(path: Path, seeds: int, console: Console) -> None:
    """Train the best setting on train plus validation for each seed, and read test once.

    Weights are those of the last epoch: nothing is left to select by. A seed that is done already
    is not tested again; one that was interrupted goes on.

    Raises: ConfigError: no trial has figures. TrainingError: a run has failed.
    """
    search = SearchDirectory(path)
    told = search.read()
    best = told.get("best")
    if best is None:
        raise ConfigError(f"{search.path}: no trial has figures; let the search end first")
    if told["settings"].get("scheduler") == "pbt":
        raise ConfigError(
            f"{search.path}: its best trial is a schedule, not a setting; "
            f"python tune.py --replay {path} repeats it"
        )
    record, launch = search.read_record(best), read_launch(search)
    common = [o for o in told["common"] if not o.startswith("seed=")]
    setting = [f"{key}={text}" for key, text in record.values.items()] + common
    console.print(f"{trial_name(best)} on train plus validation, {seeds} seeds", highlight=False)
    runs = [_one_seed(search, launch, setting, seed, console) for seed in range(seeds)]
    found = [read_run(run) for run in runs]
    console.print(render(summarize(found), columns_of(found), "text", MIN_WIDTH), end="",
                  soft_wrap=True, highlight=False)  # fmt: skip


def _one_seed(
    search: SearchDirectory, launch: Launch, setting: Sequence[str], seed: int, console: Console
) -> Path:
    folder = search.retrained / f"seed-{seed}"
    done = [run for run in run_directories(folder) if status_of(run) == FINISHED]
    if done:
        return done[-1]
    overrides = [
        *setting,
        "data.fit=all",
        f"seed={seed}",
        "trainer.progress=false",
        "trainer.resume=auto",
        path_override("runs_dir", folder.parent),
        f"name={folder.name}",
    ]
    search.logs.mkdir(exist_ok=True)
    log = search.logs / f"retrain-{folder.name}.log"
    command = [*entry_command(launch.script, launch.processes, launch.gpus), *overrides]
    variables = environment(launch.environment, launch.processes, launch.gpus)
    child = Child(command, Path(launch.cwd), variables, log, launch.processes > 1)
    try:
        while (code := child.poll()) is None:
            time.sleep(0.2)
    except BaseException:
        child.end()
        raise
    if code:
        raise TrainingError(f"seed {seed}: {explain_exit(code, child.said())[0]}\nSee {log}")
    run = run_directories(folder)[-1]
    figures = read_mapping(run / "test.json")["metrics"]
    console.print(f"seed {seed}: test loss {figures['loss']:.4f}  {run}", highlight=False)
    return run


# -------------------------------------------------------------------------- a population's schedule
def replay(path: Path, console: Console) -> bool:
    """Repeat the schedule of a population's best trial; whether its last weights are the same.

    Each segment is a run that begins with the checkpoint of the one before.

    Raises: ConfigError: the search has no schedule. TrainingError: a run has failed.
    """
    search = SearchDirectory(path)
    search.read()
    if not search.schedule.exists():
        raise ConfigError(f"{search.path} has no {search.schedule.name}: only tune.scheduler=pbt "
                          "writes one, once it has finished")  # fmt: skip
    schedule, launch = read_mapping(search.schedule), read_launch(search)
    start: str | None = None
    pairs: list[tuple[Path, Path, int]] = []
    for place, segment in enumerate(schedule["segments"]):
        run, start = _segment(search, launch, schedule, place, start)
        pairs.append((search.path / segment["run"], run, segment["last"]))
        console.print(f"segment {place + 1}: epochs {segment['first']} to {segment['last']}, {run}",
                      highlight=False)  # fmt: skip
    theirs, ours, last = pairs[-1]
    same = _weights(theirs, last) == _weights(ours, last)
    console.print(f"weights after epoch {last}: {'the same' if same else 'others'}")
    return same


def _segment(
    search: SearchDirectory, launch: Launch, schedule: dict[str, Any], place: int,
    start: str | None,
) -> tuple[Path, str]:  # fmt: skip
    """Train one segment in a folder of its own; (its run, the checkpoint at its end)."""
    segment = schedule["segments"][place]
    target = SearchDirectory(search.path / "replay")
    for folder in (target.path, target.runs, target.logs):
        folder.mkdir(parents=True, exist_ok=True)
    overrides = [
        *(f"{key}={text}" for key, text in segment["values"].items()), *schedule["common"],
        "trainer.test=false", "trainer.progress=false", path_override("runs_dir", target.runs),
        f"name={trial_name(place)}",
    ]  # fmt: skip
    follower = Follower(target, replace(launch, retries=0), Order(place, overrides, start))
    follower.earlier = set(run_directories(target.run_folder(place)))
    try:
        for epoch in range(segment["first"], segment["last"] + 1):
            result = follower.epoch(epoch)
            if result["ended"] not in ("", FINISHED):
                raise TrainingError(f"segment {place + 1}: {result['message']}")
        checkpoint, run = follower.checkpoint(segment["last"]), follower.run()
    finally:
        follower.close()
    if checkpoint is None or run is None:
        raise TrainingError(f"segment {place + 1}: its checkpoint is not there")
    return run, str(checkpoint)


def _weights(run: Path, epoch: int) -> str:
    """The hash of the weights at the end of an epoch, as the checkpoint tells it."""
    step = rows_of(run)[epoch]["step"]
    meta = read_mapping(run / "checkpoints" / f"step-{step:08d}" / "checkpoint.json")
    return str(meta["files"]["model.safetensors"]["sha256"])
