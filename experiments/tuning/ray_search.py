"""A search on Ray Tune: its schedulers and resources, our trials.

No usage statistics, no dashboard unless asked: no request leaves the machine.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from experiments.errors import ConfigError
from experiments.tuning.config import TuneConfig
from experiments.tuning.directory import trial_name
from experiments.tuning.follower import dump_order
from experiments.tuning.journal import Journal
from experiments.tuning.population import as_numbers, keep_inside, mutations, seed_everything
from experiments.tuning.progress import Progress
from experiments.tuning.request import Request
from experiments.tuning.space import Space

OBJECT_STORE = 100 << 20  # bytes: results are small
VARIABLES = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DISABLE_IMPORT_WARNING": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_worker_niceness": "0",  # else trials would give way to everything on the machine
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # a trial may fail before its first figure
    "TUNE_MAX_PENDING_TRIALS_PG": "1",  # a suggestion waits until there is room for its trial
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_WARN_THRESHOLD_S": "60",
}


@contextmanager
def ray_running(settings: TuneConfig) -> Iterator[None]:
    """Ray, started here or joined; it is left, and ended if it was started here. One that this
    process has joined already is used as it is.

    Raises: ConfigError: no cluster is at tune.address.
    """
    for name, value in VARIABLES.items():
        os.environ.setdefault(name, value)
    import ray

    if ray.is_initialized():
        yield
        return
    own: dict[str, Any] = {}
    if settings.address is None:
        wanted = settings.jobs * settings.cpus if settings.jobs else 0
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
        own = {
            "num_cpus": max(cores, wanted, settings.cpus),
            "object_store_memory": OBJECT_STORE,
            "include_dashboard": settings.dashboard,
        }
    try:
        ray.init(
            address=settings.address or "local",
            log_to_driver=False,
            logging_level=logging.CRITICAL,
            **own,
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ConfigError(
            f"tune.address={settings.address}: {str(error).splitlines()[0]}\nStart a cluster with "
            "`ray start --head`, and its other machines with `ray start --address=HOST:6379`"
        ) from error
    for name in ("ray", "ray.tune", "ray.data", "ray.train"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        ray.shutdown()


def search_with_ray(request: Request, journal: Journal, progress: Progress, epochs: int) -> int:
    """Run all trials; 0, or the signal that asked to stop."""
    from ray import tune

    from experiments.tuning.callbacks import Listener, Stop, StopAll
    from experiments.tuning.trainable import TrialRun

    settings, search = request.settings, journal.search
    search.stop.unlink(missing_ok=True)
    shutil.rmtree(search.ray, ignore_errors=True)
    space: dict[str, Any] = {"search": str(search.path)}
    if settings.scheduler == "pbt":
        beginnings = population(request, journal)
        if not beginnings:
            return 0
        space |= variants(request, beginnings)
    stop = Stop(journal, progress)
    values = request.space if settings.scheduler == "pbt" else None
    resources = {"cpu": settings.cpus * settings.processes, "gpu": settings.gpus}
    tune.Tuner(
        tune.with_resources(TrialRun, {k: v for k, v in resources.items() if v}),
        param_space=space,
        tune_config=tune_config(request, journal, epochs),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(search.ray),
            callbacks=[Listener(journal, progress, stop, values)],
            stop=StopAll(journal),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            failure_config=tune.FailureConfig(max_failures=settings.retries),
            verbose=0,
        ),
    ).fit()
    shutil.rmtree(search.ray, ignore_errors=True)
    search.stop.unlink(missing_ok=True)
    return stop.signal


def tune_config(request: Request, journal: Journal, epochs: int) -> Any:
    """Who suggests, who stops, how many at a time; trials are named by their numbers."""
    import ray
    from ray import tune

    from experiments.tuning.callbacks import Suggestions
    from experiments.tuning.trainable import number_of

    settings, goal = request.settings, journal.goals.one
    pbt = settings.scheduler == "pbt"

    def name(trial: Any) -> str:
        return trial_name(number_of(trial.config))

    return tune.TuneConfig(
        metric=None if goal is None else goal.name,
        mode=None if goal is None else "max" if goal.maximise else "min",
        search_alg=None if pbt else Suggestions(journal, dump_order),
        scheduler=make_scheduler(settings, request.space, epochs),
        num_samples=1 if pbt else -1,
        max_concurrent_trials=jobs_at_once(settings, ray.cluster_resources()),
        reuse_actors=True,
        trial_name_creator=name,
        trial_dirname_creator=name,
    )


def jobs_at_once(settings: TuneConfig, there: dict[str, float]) -> int:
    """Trials at a time: tune.jobs, or as many as the devices are enough for.

    Raises: ConfigError: not even one.
    """
    needs = {"CPU": float(settings.cpus * settings.processes), "GPU": settings.gpus}
    for name, need in needs.items():
        have = there.get(name, 0.0)
        if need > have:
            key = "tune.cpus" if name == "CPU" else "tune.gpus"
            raise ConfigError(
                f"{key}: a trial asks for {need:g} {name}s, and Ray has {have:g}; ask for less"
            )
    rooms = [int(there[name] / need + 1e-9) for name, need in needs.items() if need]
    return settings.jobs or min(rooms)


def make_scheduler(settings: TuneConfig, space: Space, epochs: int) -> Any:
    """Ray's scheduler; all count epochs, not seconds."""
    from ray.tune import schedulers

    time = "training_iteration"
    if settings.scheduler == "asha":
        return schedulers.ASHAScheduler(
            time_attr=time, max_t=epochs, grace_period=min(settings.grace, epochs),
            reduction_factor=settings.eta, stop_last_trials=False,
        )  # fmt: skip
    if settings.scheduler == "hyperband":
        return schedulers.HyperBandScheduler(
            time_attr=time, max_t=epochs, reduction_factor=settings.eta
        )
    if settings.scheduler == "pbt":
        seed_everything(settings.seed)
        return schedulers.PopulationBasedTraining(
            time_attr=time, perturbation_interval=settings.interval,
            hyperparam_mutations=mutations(space, settings.seed),
            custom_explore_fn=keep_inside(space), log_config=False,
        )  # fmt: skip
    return schedulers.FIFOScheduler()


def population(request: Request, journal: Journal) -> dict[int, dict[str, Any]]:
    """{number: values} of the trials of a population that have not ended."""
    beginnings: dict[int, dict[str, Any]] = {}
    while (order := journal.next()) is not None:
        if order.until is None:
            values = journal.records[order.number].values
            beginnings[order.number] = as_numbers(request.space, values)
    return beginnings


def variants(request: Request, beginnings: dict[int, dict[str, Any]]) -> dict[str, Any]:
    """The same as Ray takes it: a grid of numbers, and values that follow from them."""
    from ray import tune

    def of(key: str) -> Any:
        def draw(spec: Any) -> Any:
            return beginnings[spec.config["number"]][key]

        return tune.sample_from(draw)

    keys = {key: of(key) for key in request.space.keys}
    return {"number": tune.grid_search(list(beginnings)), **keys}
