"""The folder of one search: what it holds, how it is found again, and whose it is.

runs/search-<name>/<time>/
    search.json         what was asked for; its format says that the folder is a search of ours
    trials/007.json     one record a trial, written before it starts and after it ends
    runs/trial-007/...  the run directories of a trial, the truth about what was trained
    logs/trial-007.log  what its processes printed
    optuna.log          the sampler's own journal; trials.csv and pictures at the end
    stop                while the search is asked to stop; lock.json while it runs
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from pathlib import Path
from typing import Any

from experiments.errors import CheckpointError, ConfigError, reason, shortage
from experiments.files import read_mapping, write_json

FORMAT = "search 1"
WAITING, RUNNING = "waiting", "running"
FINISHED, STOPPED, TIMEOUT = "finished", "stopped", "timeout"
FAILED, INTERRUPTED = "failed", "interrupted"
ENDED = (FINISHED, STOPPED, TIMEOUT, FAILED)  # nothing is left to do
SCORED = (FINISHED, STOPPED, TIMEOUT)  # with figures, unless no epoch was done


@dataclass
class Record:
    """What is known of one trial.

    values: what was sampled, {key: text}; overrides: all of the child's. epochs: how many count.
    figures: the objectives at its best epoch, which is best_epoch. optuna: its number in the
    sampler's journal.
    """

    number: int
    values: dict[str, str]
    overrides: list[str] = field(default_factory=list)
    status: str = WAITING
    message: str = ""
    epochs: int = 0
    best_epoch: int | None = None
    figures: dict[str, float | None] = field(default_factory=dict)
    run: str | None = None
    seconds: float = 0.0
    optuna: int | None = None

    @property
    def name(self) -> str:
        return trial_name(self.number)

    @property
    def ended(self) -> bool:
        return self.status in ENDED


def trial_name(number: int) -> str:
    return f"trial-{number:03d}"


class SearchDirectory:
    """Paths of one search, and its records."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self.search = self.path / "search.json"
        self.trials = self.path / "trials"
        self.runs = self.path / "runs"
        self.logs = self.path / "logs"
        self.optuna = self.path / "optuna.log"
        self.table = self.path / "trials.csv"
        self.stop = self.path / "stop"
        self.ray = self.path / ".ray"  # Ray's own notes, of no use once it has ended
        self.retrained = self.path / "retrain"
        self.schedule = self.path / "schedule.json"

    def run_folder(self, number: int) -> Path:
        """Where the run directories of a trial lie."""
        return self.runs / trial_name(number)

    def log(self, number: int) -> Path:
        return self.logs / f"{trial_name(number)}.log"

    def read(self) -> dict[str, Any]:
        """What search.json says.

        Raises: ConfigError: this is no folder of a search, or not one of this version.
        """
        try:
            told = read_mapping(self.search)
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"{self.path} is no search ({self.search.name}: {reason(error)}); give the folder "
                "that was printed as 'search directory'"
            ) from error
        if told.get("format") != FORMAT:
            raise ConfigError(f"{self.search} has format {told.get('format')!r}, not {FORMAT!r}")
        return told

    def write(self, **values: Any) -> None:
        """Change entries of search.json."""
        told = read_mapping(self.search) if self.search.exists() else {"format": FORMAT}
        write_json(self.search, told | values)

    def write_record(self, record: Record) -> None:
        write_json(self.trials / f"{record.number:03d}.json", asdict(record))

    def read_record(self, number: int) -> Record:
        """The record of a trial. Raises: CheckpointError: it cannot be read."""
        path = self.trials / f"{number:03d}.json"
        try:
            told = read_mapping(path)
            known = {f.name for f in fields(Record)}
            return Record(**{key: value for key, value in told.items() if key in known})
        except (OSError, ValueError, TypeError) as error:
            raise CheckpointError(f"cannot read {path}: {reason(error)}") from error

    def read_records(self) -> list[Record]:
        """The records of all trials, in their order."""
        numbers = sorted(int(p.stem) for p in self.trials.glob("*.json") if p.stem.isdigit())
        return [self.read_record(number) for number in numbers]


def make_search(directory: str, name: str) -> SearchDirectory:
    """Make the folder of a new search. Raises: ConfigError: it cannot be made."""
    parent = (Path(directory).expanduser() / f"search-{name}").resolve()
    stamp = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    try:
        parent.mkdir(parents=True, exist_ok=True)
        for count in itertools.count(1):
            path = parent / f"{stamp}{f'-{count}' if count > 1 else ''}"
            with suppress(FileExistsError):
                path.mkdir()
                break
        found = SearchDirectory(path)
        for folder in (found.trials, found.runs, found.logs):
            folder.mkdir()
    except OSError as error:
        raise shortage(error) or ConfigError(
            f"cannot write the search directory in {parent}: {error.strerror}; choose another "
            "place with tune.directory=PATH"
        ) from error
    return found


def find_search(resume: str, directory: str, name: str, asked: Mapping[str, Any]) -> (
    SearchDirectory | None
):  # fmt: skip
    """The search that tune.resume names; None where auto finds none to go on with.

    asked: what this command asks for, as search.json holds it.

    Raises: ConfigError: it is none of ours, or was asked for other things, which are named.
    """
    if resume != "auto":
        found = SearchDirectory(Path(resume).expanduser())
        changed = differences(found.read(), asked)
        if changed:
            raise ConfigError(
                f"tune.resume={resume}: the search was asked for otherwise:\n  "
                + "\n  ".join(changed)
                + "\nGive what it was begun with, or begin a new one without tune.resume"
            )
        return found
    place = Path(directory).expanduser() / f"search-{name}"
    for path in sorted((p.parent for p in place.glob("*/search.json")), reverse=True):
        candidate = SearchDirectory(path)
        with suppress(ConfigError):
            told = candidate.read()
            if told.get("status") != FINISHED and not differences(told, asked):
                return candidate
    return None


def differences(told: Mapping[str, Any], asked: Mapping[str, Any]) -> list[str]:
    """Lines that say what a search was begun with, and what is asked for now."""
    found = []
    for key in asked:
        old, new = told.get(key), asked[key]
        if old == new:
            continue
        if isinstance(old, dict) and isinstance(new, dict):
            leaves = sorted(old.keys() | new.keys())
            found += [f"{key}.{k}: {old.get(k)!r} -> {new.get(k)!r}" for k in leaves
                      if old.get(k) != new.get(k)]  # fmt: skip
        else:
            found.append(f"{key}: {old!r} -> {new!r}")
    return found


def run_directories(folder: Path) -> list[Path]:
    """The run directories in a trial's folder, the oldest first."""

    def rank(path: Path) -> tuple[int, str]:
        with suppress(OSError, ValueError):
            return int(read_mapping(path / "manifest.json").get("number") or 0), path.name
        return 0, path.name

    found: Sequence[Path] = [file.parent for file in folder.glob("*/manifest.json")]
    return sorted((path for path in found if (path / "config.yaml").is_file()), key=rank)
