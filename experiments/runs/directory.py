"""The folder of one run: where its files lie, how it is found again and taken up.

runs/<name>/<time>-seed<seed>/
    config.yaml manifest.json metrics.jsonl timing.jsonl curves.png, .pdf best.safetensors test.json
    checkpoints/step-00000120/... and the pictures of the task; lock.json while it trains

What is read back is known by the run's id, which its manifest and checkpoints hold, and by hashes:
of a checkpoint's files, metrics.jsonl and best.safetensors in the checkpoint, of test.json in the
manifest. A run that began before there were ids has none, and neither have its checkpoints.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import shutil
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from experiments.config.resume import RECORDED, REFUSED, complete, policy
from experiments.config.schema import Config
from experiments.errors import CheckpointError, ConfigError, or_words, reason, shortage
from experiments.files import atomic_path, parse_mapping, read_mapping, remove_temporaries
from experiments.training.checkpoint import UNKNOWN, CheckpointStore

Changes = dict[str, tuple[Any, Any]]  # {dotted key: (value of the saved config, value now)}


LONGEST = 255  # bytes in the name of a folder, on the usual file systems


class RunDirectory:
    """Paths of one run directory."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self.config = self.path / "config.yaml"
        self.manifest = self.path / "manifest.json"
        self.metrics = self.path / "metrics.jsonl"
        self.timing = self.path / "timing.jsonl"
        self.curves = self.path / "curves.png"
        self.best = self.path / "best.safetensors"
        self.test = self.path / "test.json"
        manifest = self.read_manifest()
        self.checkpoints = CheckpointStore(
            self.path / "checkpoints", manifest.get("id") if manifest else UNKNOWN
        )

    def picture(self, name: str) -> Path:
        """Where the picture of that name lies."""
        return self.path / f"{name}.png"

    def read_manifest(self) -> dict[str, Any]:
        """The manifest; empty if there is none that can be read."""
        try:
            return read_mapping(self.manifest)
        except (OSError, ValueError):
            return {}

    def status(self) -> str:
        """running, interrupted, failed or finished as the manifest says; 'absent' without one."""
        return str(self.read_manifest().get("status", "absent"))

    def number(self) -> int:
        """Its place among the runs of its name; 0 if it began before there were numbers."""
        number = self.read_manifest().get("number")
        return number if isinstance(number, int) else 0

    def finished_test(self) -> dict[str, Any] | None:
        """The content of test.json, if the run has finished and this is what it wrote."""
        manifest = self.read_manifest()
        try:
            content = self.test.read_bytes()
            test = parse_mapping(content)
            figures = all(isinstance(v, (int, float, type(None))) for v in test["metrics"].values())
            whole = figures and isinstance(test["epoch"], int)
        except (OSError, ValueError, KeyError, AttributeError):
            return None
        sha256 = manifest.get("test_sha256")
        own = sha256 is None or hashlib.sha256(content).hexdigest() == sha256
        finished = manifest.get("status") == "finished"
        return test if finished and whole and own else None

    def take_rows(self, other: RunDirectory) -> None:
        """Begin with the rows, times and best weights of a run that this one prolongs."""
        for mine, theirs in (
            (self.metrics, other.metrics),
            (self.timing, other.timing),
            (self.best, other.best),
        ):
            if theirs.is_file():
                with atomic_path(mine) as temporary:
                    shutil.copyfile(theirs, temporary)

    def tidy(self) -> None:
        """Remove what writers left that were killed; whoever calls this holds the lock."""
        files = (self.config, self.manifest, self.metrics, self.best, self.test, self.curves)
        pictures = (*self.path.glob("*.png"), *self.path.glob("*.pdf"))
        for file in (*files, self.path / "tracker.json", *pictures):
            remove_temporaries(file)
        self.checkpoints.tidy()


def check_name(config: Config) -> None:
    """Refuse a name that leads out of runs_dir, or that no folder has. Raises: ConfigError."""
    parts = Path(config.name).parts
    longest = max((len(os.fsencode(part)) for part in parts), default=0)
    if longest > LONGEST:
        raise ConfigError(
            f"name={config.name:.20}...: a part of it has {longest} bytes, and a folder's name at "
            f"most {LONGEST}; type a shorter one"
        )
    leads_out = Path(config.name).is_absolute() or ".." in parts
    if leads_out or not parts or "\0" in config.name + config.runs_dir:
        raise ConfigError(
            f"name={config.name!r}: names a folder within runs_dir={config.runs_dir}, where the "
            "runs of that name lie; leave out .. and a leading /, or choose another runs_dir=PATH"
        )


def make_new(runs_dir: str, name: str, seed: int) -> tuple[Path, int]:
    """Make a new run directory (on one process only); return it and its number.

    Who makes the directory owns it; the next one takes a suffix. Numbers rise from run to run of a
    name, whatever the clock says.

    Raises: ConfigError: it cannot be made.
    """
    parent = (Path(runs_dir).expanduser() / name).resolve()
    stamp = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    try:
        others = (RunDirectory(file.parent) for file in parent.glob("*/manifest.json"))
        number = 1 + max((run.number() for run in others), default=0)
        parent.mkdir(parents=True, exist_ok=True)
        for count in itertools.count(1):
            path = parent / f"{stamp}-seed{seed}{f'-{count}' if count > 1 else ''}"
            with suppress(FileExistsError):
                path.mkdir()
                break
    except OSError as error:
        raise shortage(error) or ConfigError(
            f"cannot write the run directory in {parent}: {error.strerror}\nChoose another place "
            "with runs_dir=PATH and name=NAME"
        ) from error
    return path, number


def unfinished(runs_dir: str, name: str) -> list[RunDirectory]:
    """The unfinished runs of a name, the newest first; of those without a number, the one that
    came farthest."""
    place = Path(runs_dir).expanduser() / name
    found = [RunDirectory(f.parent) for f in place.glob("*/config.yaml")]
    ranked = [
        (run.number(), max(run.checkpoints.steps(), default=0), run.path.name, run)
        for run in found
        if run.status() != "finished"
    ]
    return [run for *_, run in sorted(ranked, key=lambda r: r[:-1], reverse=True)]


def read_config(path: Path) -> dict[str, Any]:
    """The config of a saved run, with all keys of today. Raises CheckpointError: it is damaged."""
    try:
        return complete(read_mapping(path))
    except (OSError, ValueError) as error:
        raise shortage(error) or CheckpointError(
            f"cannot read {path}: {reason(error)}\nThe run's checkpoints have its config too, "
            "under config in checkpoint.json; or start a new run without it."
        ) from error


def resolve_checkpoint(key: str, text: str) -> tuple[Path, Path | None]:
    """Split key=PATH into (run directory, checkpoint or None for the last one).

    Raises CheckpointError: the path does not exist or is neither a run directory nor a checkpoint.
    """
    path = Path(text).expanduser().resolve()
    if path.parent.name == "checkpoints" and path.is_dir():
        return path.parent.parent, path
    if (path / "config.yaml").is_file():
        return path, None
    what = "is no run directory (it has no config.yaml)" if path.exists() else "does not exist"
    ways = ["a run directory", "one of its checkpoints/step-... folders"]
    if key == "trainer.resume":
        ways.append("trainer.resume=auto for the newest unfinished run")
    raise CheckpointError(f"{key}={text}: {path} {what}. Give {or_words(ways)}.")


def find_parent(text: str) -> Path:
    """The checkpoint that trainer.start_from names: that of a run, or its last one.

    Raises CheckpointError: there is none.
    """
    path, checkpoint = resolve_checkpoint("trainer.start_from", text)
    found = checkpoint or RunDirectory(path).checkpoints.last()
    if found is None:
        raise CheckpointError(
            f"trainer.start_from={text}: {path} has no checkpoint; give a run that has one"
        )
    return found


def require_same(changes: Changes, path: Path) -> Changes:
    """What this continuation of a run changes that must be recorded.

    Raises CheckpointError that lists what may not change, unless nothing of that does.
    """
    refused = [
        f"{key}: {old!r} -> {new!r}"
        for key, (old, new) in changes.items()
        if policy(key) == REFUSED
    ]
    if refused:
        raise CheckpointError(
            f"{path} belongs to a run with another config or other data, so it cannot be continued "
            "exactly:\n  " + "\n  ".join(refused) + "\nGive the values of the saved run, or start "
            "a new run without trainer.resume."
        )
    return {key: values for key, values in changes.items() if policy(key) == RECORDED}
