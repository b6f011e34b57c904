"""Group `tune`: how a search goes about its trials."""

from __future__ import annotations

from dataclasses import dataclass, field

from experiments.config.checks import require, require_choice

SEARCHES = ("random", "grid", "tpe")
SCHEDULERS = ("none", "asha", "hyperband", "pbt")
# Settings that a search may be continued with, whatever they were: they change no trial.
FREE = frozenset(
    [
        "trials",
        "jobs",
        "trial_seconds",
        "retries",
        "resume",
        "address",
        "dashboard",
        "directory",
        "name",
    ]
)


@dataclass
class TuneConfig:
    """See configs/tune/default.yaml for each key's meaning in use."""

    trials: int | None = 20
    search: str = "random"
    scheduler: str = "none"
    objectives: list[str] | None = None
    seed: int = 0
    grace: int = 1
    eta: float = 2.0
    interval: int = 1
    cpus: int = 1
    gpus: float = 0.0
    processes: int = 1
    jobs: int | None = None
    trial_seconds: float | None = None
    retries: int = 1
    resume: str | None = None
    address: str | None = None
    dashboard: bool = False
    directory: str = "runs"
    name: str | None = None
    fixed: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        require_choice("tune.search", self.search, SEARCHES)
        require_choice("tune.scheduler", self.scheduler, SCHEDULERS)
        for key in ("trials", "jobs", "trial_seconds"):
            value = getattr(self, key)
            require(value is None or value > 0, f"tune.{key}", value, "must be positive or null")
        for key in ("grace", "interval", "cpus", "processes"):
            value = getattr(self, key)
            require(value >= 1, f"tune.{key}", value, "must be 1 or more")
        require(self.eta > 1, "tune.eta", self.eta, "must be more than 1")
        for key in ("gpus", "retries", "seed"):
            value = getattr(self, key)
            require(value >= 0, f"tune.{key}", value, "must be 0 or more")
        whole = self.gpus <= 1 or self.gpus == int(self.gpus)
        require(whole, "tune.gpus", self.gpus, "must be a share of one, or a whole number of them")
        self._check_together()

    def _check_together(self) -> None:
        rule = "only a grid knows its own number; give one"
        known = self.trials is not None or self.search == "grid"
        require(known, "tune.trials", self.trials, rule)
        names = self.objectives
        require(names != [], "tune.objectives", names, "must name one, or be null")
        once = names is None or len(set(names)) == len(names)
        require(once, "tune.objectives", names, "names one of them twice")
        rule = "stops trials by one figure; with several type tune.scheduler=none"
        one = names is None or len(names) == 1 or self.scheduler == "none"
        require(one, "tune.scheduler", self.scheduler, rule)
        rule = "begins with trials at random and changes them; type tune.search=random"
        random = self.scheduler != "pbt" or self.search == "random"
        require(random, "tune.search", self.search, f"tune.scheduler=pbt {rule}")
        rule = "starts one process for each whole device; leave it 1 or give tune.gpus as many"
        enough = self.processes == 1 or self.gpus in (0, self.processes)
        require(enough, "tune.processes", self.processes, rule)
