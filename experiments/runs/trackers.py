"""The tracker of a run, wandb or tensorboard, and under which id it goes on."""

from __future__ import annotations

import netrc
import os
import secrets
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from accelerate.tracking import GeneralTracker, TensorBoardTracker, WandBTracker

from experiments.config.resume import flatten
from experiments.config.trainer import TrackerConfig
from experiments.errors import ConfigError, in_one_line, shortage
from experiments.files import read_mapping, write_json
from experiments.runs.directory import RunDirectory


def start_tracker(
    config: TrackerConfig, run: RunDirectory, name: str, values: dict[str, Any]
) -> GeneralTracker | None:
    """Start the tracker of the config (called on the main process); None for local files only.

    A resumed run goes on under its own id, which run_dir/tracker.json keeps.

    Raises: ConfigError: it cannot be started.
    """
    try:
        return _start(config, run, name, values)
    except Exception as error:
        raise shortage(error) or ConfigError(
            f"tracker={config.name} cannot be started: {in_one_line(error)}\nType tracker=local: "
            "the files of a run hold all that it tells a tracker"
        ) from error


def _start(
    config: TrackerConfig, run: RunDirectory, name: str, values: dict[str, Any]
) -> GeneralTracker | None:
    if config.name == "local":
        return None
    tracker: GeneralTracker
    if config.name == "tensorboard":
        tracker = TensorBoardTracker(run_name="tensorboard", logging_dir=str(run.path))
        flat = {
            k: v if isinstance(v, (int, float, str, bool)) else str(v) for k, v in flatten(values)
        }
        tracker.start()
        tracker.store_init_configuration(flat)
        return tracker
    run_id = _tracker_id(run)
    tracker = WandBTracker(
        config.project,
        name=f"{name}-{run.path.name}",
        entity=config.entity,
        group=config.group,
        id=run_id,
        resume="allow",
        dir=str(run.path),
        mode=wandb_mode(),
    )
    tracker.start()
    tracker.store_init_configuration(values)
    return tracker


def wandb_mode() -> str:
    """What WANDB_MODE says, else online for somebody who is logged in, else offline."""
    if mode := os.environ.get("WANDB_MODE"):
        return mode
    return "online" if os.environ.get("WANDB_API_KEY") or _has_wandb_login() else "offline"


def _has_wandb_login() -> bool:
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname
    file = os.environ.get("NETRC") or os.path.expanduser("~/.netrc")
    try:
        return netrc.netrc(file).authenticators(host or "") is not None
    except (OSError, netrc.NetrcParseError):
        return False


def _tracker_id(run: RunDirectory) -> str:
    path = run.path / "tracker.json"
    with suppress(OSError, ValueError, KeyError):  # a damaged one: another line in the tracker
        return str(read_mapping(path)["id"])
    run_id = secrets.token_hex(4)
    write_json(path, {"tracker": "wandb", "id": run_id})
    return run_id
