"""The command: python tune.py --config-name cifar tune=NAME [tune.KEY=VALUE ...] [KEY=VALUE ...]"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from experiments.app import exit_with_message
from experiments.config.compose import compose_group, load_config
from experiments.config.groups import CONFIG_DIR, group_options
from experiments.errors import ConfigError, UserError, in_words
from experiments.runs.lock import RunLock
from experiments.runs.terminal import lasting_output
from experiments.tuning.checks import Composer, check_models, check_space
from experiments.tuning.config import FREE
from experiments.tuning.directory import FINISHED, SearchDirectory, find_search, make_search
from experiments.tuning.journal import Journal
from experiments.tuning.population import KEEP_ALL
from experiments.tuning.request import (
    Goals,
    Options,
    Request,
    describe_settings,
    goals_of,
    import_script,
    read_options,
    read_request,
    setting_overrides,
)

HELP = """\
python tune.py [--config-name cifar] [--script FILE.py] tune=NAME [tune.KEY=VALUE ...]
               [tune.space.KEY='DISTRIBUTION' ...] [KEY=VALUE ...]
python tune.py --retrain SEARCH [--seeds 3]   the best setting on train plus validation, tested
python tune.py --replay SEARCH                the schedule of a population's best trial

Words of `tune` are the search's, all others are overrides that every trial has.
Spaces (tune=NAME, files of {folder}): {spaces}
Distributions: choice(A, B, ...), uniform(LOW, HIGH), loguniform(LOW, HIGH),
  quniform(LOW, HIGH, STEP), randint(LOW, HIGH), ends included; each may end with: if KEY=VALUE
Settings, with their values:
{settings}
docs/search.md tells the rest.
"""
# Of whoever begins a search: workers of Ray have their own, of which a rerun knows nothing.
ENVIRONMENT = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def main(words: Sequence[str] | None = None) -> int:
    """Run the command; its exit code: 0 done, 2 a mistake that the message explains, 128 + n
    stopped by signal n."""
    with lasting_output(), exit_with_message(), in_words():
        return _main(sys.argv[1:] if words is None else words)


def _main(words: Sequence[str]) -> int:
    options, rest = read_options(words)
    console = Console(markup=False, emoji=False)
    if options.help or not words:
        print(_help(), end="")
        return 0
    if options.retrain is not None or options.replay is not None:
        return _afterwards(options, rest, console)
    import_script(options.script)
    request = read_request(options, rest)
    config = load_config(options.config_name, request.fixed)
    goals = goals_of(config, request.settings.objectives)
    common = list(setting_overrides(request, goals))
    composer = Composer(options.config_name, common)
    check_space(request, composer)
    check_models(request, composer)
    return run_search(request, goals, composer, console, config.trainer.epochs)


def _afterwards(options: Options, rest: Sequence[str], console: Console) -> int:
    from experiments.tuning.retrain import replay, retrain

    if rest:
        raise UserError(f"{rest[0]}: a search that is over has its overrides; leave it out")
    if options.retrain is not None:
        retrain(options.retrain, options.seeds, console)
        return 0
    assert options.replay is not None
    return 0 if replay(options.replay, console) else 1


def _help() -> str:
    values = compose_group("tune", "default")
    lines = [f"  tune.{key}={'null' if value is None else value}" for key, value in values.items()
             if key != "space"]  # fmt: skip
    spaces = ", ".join(group_options("tune"))
    return HELP.format(folder=CONFIG_DIR / "tune", spaces=spaces, settings="\n".join(lines))


# ---------------------------------------------------------------------------------------- a search
def run_search(
    request: Request, goals: Goals, composer: Composer, console: Console, epochs: int
) -> int:
    """Open the search, run its trials, say what came of them; the exit code.

    Raises: ConfigError, UserError: it cannot be opened, or no trial has figures.
    """
    search = _open(request, composer, epochs, console)
    lock = RunLock(search.path)
    holder = lock.take()
    if holder is not None:
        raise ConfigError(f"{search.path} is being searched by {holder}; wait for its end")
    try:
        return _locked(request, goals, composer, search, console, epochs)
    finally:
        lock.release()


def asked_for(request: Request, composer: Composer) -> dict[str, Any]:
    """What tells one search from another."""
    settings = describe_settings(request.settings)
    return {
        "config_name": request.options.config_name,
        "script": str(request.options.script),
        "space": request.space.texts(),
        "common": composer.common,
        "settings": {key: value for key, value in settings.items() if key not in FREE},
    }


def _open(request: Request, composer: Composer, epochs: int, console: Console) -> SearchDirectory:
    """The directory of the search: that which tune.resume names, or a new one."""
    settings, asked = request.settings, asked_for(request, composer)
    search = None
    if settings.resume is not None:
        search = find_search(settings.resume, settings.directory, request.name, asked)
        if search is None:
            console.print("tune.resume=auto: no unfinished search of these words; one begins")
    if search is None:
        search = make_search(settings.directory, request.name)
    launch = {
        "script": str(request.options.script),
        "cwd": os.getcwd(),
        "epochs": epochs,
        "environment": {name: os.environ.get(name) for name in ENVIRONMENT},
        "processes": settings.processes,
        "gpus": settings.gpus,
        "trial_seconds": settings.trial_seconds,
        "retries": settings.retries,
    }
    search.write(**asked, launch=launch, status="running")
    return search


def _locked(
    request: Request,
    goals: Goals,
    composer: Composer,
    search: SearchDirectory,
    console: Console,
    epochs: int,
) -> int:
    from experiments.tuning.progress import Progress
    from experiments.tuning.ray_search import ray_running, search_with_ray
    from experiments.tuning.samplers import make_sampler

    settings, pbt = request.settings, request.settings.scheduler == "pbt"
    sampler = make_sampler(request.space, search.optuna, goals.objectives, settings)
    # Plumbing of all trials, which changes nothing that they compute.
    group = [f"tracker.group={request.name}-{search.path.name}"]
    plumbing = [*group, *([f"trainer.keep_last={KEEP_ALL}"] if pbt else [])]
    journal = Journal(search, sampler, goals, composer, plumbing, settings.trials)
    console.print(f"search directory: {search.path}", highlight=False, soft_wrap=True)
    with Progress(journal, console, epochs) as progress, ray_running(settings):
        number = search_with_ray(request, journal, progress, epochs)
    journal.end()
    return _conclude(request, journal, console, number)


def _conclude(request: Request, journal: Journal, console: Console, number: int) -> int:
    """Write and print the results; the exit code."""
    from experiments.tuning.pictures import draw_pictures
    from experiments.tuning.population import schedule_of
    from experiments.tuning.results import print_results, write_table

    search, pbt = journal.search, request.settings.scheduler == "pbt"
    table = write_table(journal, request.space.keys)
    best = journal.best_first()
    if number:
        search.write(status="interrupted", best=best[0].number if best else None)
        console.print(f"stopped on request; go on with the same command and "
                      f"tune.resume={search.path}", highlight=False, soft_wrap=True)  # fmt: skip
        return 128 + number
    search.write(status=FINISHED, best=best[0].number if best else None)
    if pbt and best:
        from experiments.files import write_json

        write_json(search.schedule, schedule_of(search, best[0]))
    pictures = draw_pictures(journal, request.space, console.print) if best else []
    found = print_results(journal, console, str(request.options.script), request.settings)
    for path in (table, *pictures):
        console.print(str(path), highlight=False, soft_wrap=True)
    if not found:
        raise UserError(f"no trial has figures; see {search.logs}")
    way = f"python tune.py --retrain {Path(search.path)}"
    if not pbt:
        console.print(f"on all training images, and tested: {way}", highlight=False, soft_wrap=True)
    return 0
