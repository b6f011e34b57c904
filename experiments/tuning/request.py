"""What a search is asked for: the words of its command line, checked as far as no space is."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from experiments.config.command_line import MULTIRUN, read_command_line
from experiments.config.compose import compose_group
from experiments.config.groups import group_options
from experiments.config.parse import build_group
from experiments.config.places import entry_names, find_script
from experiments.config.schema import Config
from experiments.errors import ConfigError, UserError, nearest
from experiments.tasks.rows import Figure, task_row
from experiments.tuning.config import TuneConfig
from experiments.tuning.space import Space, read_space

COSTS = ("parameters", "macs", "step_ms")  # beside validation figures: the less the better
# Keys that the search says itself, and how.
OWN = {
    "trainer.threads": "tune.cpus says how many",
    "trainer.progress": "a trial's terminal is its log file",
    "trainer.test": "the test split is read by python tune.py --retrain SEARCH",
    "trainer.resume": "tune.resume=auto goes on with a search",
    "data.fit": "python tune.py --retrain SEARCH trains on all images",
    "runs_dir": "tune.directory says where a search is written",
    "name": "tune.name names a search",
}


@dataclass(frozen=True)
class Options:
    """The words that begin with two dashes."""

    config_name: str = "cifar"
    script: Path = Path("cifar.py")
    retrain: Path | None = None
    replay: Path | None = None
    seeds: int = 3
    help: bool = False


@dataclass(frozen=True)
class Request:
    """A search: what is searched, what is fixed, and how it goes about it."""

    options: Options
    settings: TuneConfig
    space: Space
    fixed: tuple[str, ...]

    @property
    def name(self) -> str:
        return str(self.settings.name)


@dataclass(frozen=True)
class Goals:
    """By what trials are judged: objectives, and the figure that selects a trial's best epoch."""

    objectives: tuple[Figure, ...]
    monitor: Figure

    def show(self, figure: Figure, value: Any) -> str:
        """A value as people read it."""
        if not isinstance(value, (int, float)):
            return "-"
        return f"{value:,.4g}" if figure.name in COSTS else figure.show(value).strip()

    @property
    def one(self) -> Figure | None:
        """The objective, where there is one alone."""
        return self.objectives[0] if len(self.objectives) == 1 else None


# ------------------------------------------------------------------------------------------- words
def read_options(words: Sequence[str]) -> tuple[Options, list[str]]:
    """The options among the words of a command line, and the other words.

    Raises: UserError for one that is unknown, or lacks its value.
    """
    given: dict[str, str] = {}
    rest: list[str] = []
    known = [f"--{f.name.replace('_', '-')}" for f in fields(Options)]
    waiting = list(words)
    while waiting:
        word = waiting.pop(0)
        name, sign, value = word.partition("=")
        if word in ("--help", "-h"):
            given["--help"] = "true"
        elif word in MULTIRUN:
            raise UserError(f"{word}: a search is many runs already; tune.trials says how many")
        elif not word.startswith("-"):
            rest.append(word)
        elif name not in known:
            raise UserError(f"{word} is not known{nearest(name, known)}\nThere are {known}")
        elif not sign and not waiting:
            raise UserError(f"{word} needs a value, for example {_EXAMPLES[word]}")
        else:
            given[name] = value if sign else waiting.pop(0)
    return _options(given), rest


_EXAMPLES = {
    "--config-name": "--config-name cifar",
    "--script": "--script my.py",
    "--retrain": "--retrain runs/search-kagn_small/2026-11-24_21-39-31",
    "--replay": "--replay runs/search-kagn_small/2026-11-24_21-39-31",
    "--seeds": "--seeds 3",
}


def _options(given: dict[str, str]) -> Options:
    config_name = given.get("--config-name", "cifar").removesuffix(".yaml")
    entries = entry_names()
    if config_name not in entries:
        raise UserError(
            f"--config-name {config_name} does not exist{nearest(config_name, entries)}\n"
            f"Choose one of: {', '.join(entries)}"
        )
    script = Path(given["--script"] if "--script" in given else find_script(config_name)).resolve()
    if not script.is_file():
        raise UserError(f"--script {script}: no such file; give the script that trains one run")
    seeds = given.get("--seeds", "3")
    if not seeds.isdigit() or int(seeds) < 1:
        raise UserError(f"--seeds {seeds}: must be a number of 1 or more")
    places = {key: Path(given[f"--{key}"]) for key in ("retrain", "replay") if f"--{key}" in given}
    return Options(config_name, script, seeds=int(seeds), help="--help" in given, **places)


def read_request(options: Options, words: Sequence[str]) -> Request:
    """The search that the other words ask for; its space is read, and checked elsewhere.

    Raises: ConfigError for what cannot be read, and for keys that are the search's own.
    """
    choice, settings, texts, fixed = _sorted_out(words)
    values = compose_group("tune", choice, settings)
    space = {**values.pop("space"), **texts}
    tune = build_group(TuneConfig, values, "tune")
    tune = replace(tune, name=tune.name or choice)
    read = read_space(space)
    for word in (*tune.fixed, *fixed):
        _refuse_own(_key(word), word)
    fixed = read_command_line(options.config_name, [*tune.fixed, *fixed])
    return Request(options, tune, read, tuple(fixed))


def _sorted_out(words: Sequence[str]) -> tuple[str, list[str], dict[str, str | None], list[str]]:
    """(choice of the group, its settings, lines of the space, overrides of all trials)."""
    choice, settings, fixed = "", list[str](), list[str]()
    texts: dict[str, str | None] = {}
    for word in words:
        key, sign, value = word.partition("=")
        if key == "tune":
            choice = value
        elif key.startswith("tune.space.") and sign:
            texts[key.removeprefix("tune.space.")] = None if value in ("null", "") else value
        elif key.startswith("tune.") and sign:
            settings.append(word)
        elif key.split(".")[0] == "tune":
            raise ConfigError(f"{word} is no setting: type tune=NAME or tune.KEY=VALUE")
        else:
            fixed.append(word)
    if not choice and not texts:
        names = ", ".join(group_options("tune"))
        raise ConfigError(
            f"there is nothing to search: choose a space with tune=NAME ({names}), or type "
            "tune.space.KEY='DISTRIBUTION', for example "
            "tune.space.optimizer.lr='loguniform(1e-4, 1e-1)'"
        )
    return choice or "default", settings, texts, fixed


def _key(word: str) -> str:
    return word.partition("=")[0].lstrip("+~")


def _refuse_own(key: str, said: str) -> None:
    if key in OWN:
        raise ConfigError(f"{said}: {key} is not for a search to choose: {OWN[key]}")


def refuse_own_keys(space: Space) -> None:
    """Raise ConfigError for a key of the space that is the search's own."""
    for parameter in space.parameters:
        _refuse_own(parameter.key, f"tune.space.{parameter.key}={parameter.text}")


# -------------------------------------------------------------------------------------- what counts
def goals_of(config: Config, names: Sequence[str] | None) -> Goals:
    """The objectives of a search as figures; names None: what selects a run's best epoch.

    Raises: ConfigError for one that no trial reports.
    """
    row = task_row(config.task.name)
    known = {figure.name: figure for figure in row.monitors}
    costs = {name: Figure(name, maximise=False) for name in COSTS}
    chosen = list(names or [str(config.trainer.monitor)])
    for name in chosen:
        if name not in known and name not in costs:
            choices = [*known, *costs]
            raise ConfigError(
                f"tune.objectives: {name!r} is nothing that a trial reports"
                f"{nearest(name, choices)}\nChoose among: {', '.join(choices)}"
            )
    monitor = next((n for n in chosen if n in known), str(config.trainer.monitor))
    return Goals(tuple({**known, **costs}[name] for name in chosen), known[monitor])


def import_script(path: Path) -> None:
    """Import an entry script for the models and tasks that it registers.

    Raises: UserError: it cannot be imported.
    """
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    sys.path.insert(0, str(path.parent))
    try:
        spec.loader.exec_module(module)
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"{path} cannot be imported: {type(error).__name__}: {error}\nIts call of launch "
            'belongs under `if __name__ == "__main__":`'
        ) from error


def setting_overrides(request: Request, goals: Goals) -> Iterator[str]:
    """What all trials have beside their sampled values, as far as it decides what they compute."""
    yield from request.fixed
    yield f"trainer.threads={request.settings.cpus}"
    keys = {_key(word) for word in request.fixed}
    if request.settings.gpus == 0 and "trainer.cpu" not in keys:
        yield "trainer.cpu=true"
    if "trainer.monitor" not in keys:
        yield f"trainer.monitor={goals.monitor.name}"


def fixed_keys(request: Request) -> set[str]:
    """The keys that the overrides of all trials name."""
    return {_key(word) for word in request.fixed}


def describe_settings(settings: TuneConfig) -> dict[str, Any]:
    """The settings as plain values."""
    return {f.name: getattr(settings, f.name) for f in fields(TuneConfig)}
