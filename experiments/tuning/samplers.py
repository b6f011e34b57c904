"""Who suggests the next trial: a grid, or Optuna's samplers with a journal in the search directory.

A suggestion depends on the seed, its number and what is known of the trials before it, and on
nothing that a process would forget: a search that is taken up again is not started over.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from experiments.tasks.rows import Figure
from experiments.tuning.config import TuneConfig
from experiments.tuning.space import Space, Values

STUDY = "search"


@dataclass(frozen=True)
class Suggestion:
    """Values of a trial, and the sampler's own number of it."""

    values: Values
    known_as: int | None = None


class Sampler(Protocol):
    """Suggests trials and hears how they ended."""

    def suggest(self, number: int) -> Suggestion | None:
        """The trial of that number; None if there are no more."""

    def tell(self, known_as: int | None, figures: Sequence[float] | None) -> None:
        """The objectives of a trial that has ended; None: it has none. Again is once."""

    def forget_all_but(self, known: set[int]) -> None:
        """Count as failed what was suggested and is not among these, of which nobody knows."""


class GridSampler:
    """Every point of the space, in its order."""

    def __init__(self, space: Space) -> None:
        self.points = space.grid()

    def suggest(self, number: int) -> Suggestion | None:
        return Suggestion(self.points[number]) if number < len(self.points) else None

    def tell(self, known_as: int | None, figures: Sequence[float] | None) -> None:
        """A grid learns nothing."""

    def forget_all_but(self, known: set[int]) -> None:
        """Nor has it anything to forget."""


class StudySampler:
    """Optuna's random or TPE sampler over a study whose journal is a file."""

    def __init__(
        self, space: Space, journal: Path, objectives: Sequence[Figure], settings: TuneConfig
    ) -> None:
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.space, self.search = space, settings.search
        self.seed, self.trials = settings.seed, settings.trials
        for lock in journal.parent.glob(f"{journal.name}.lock*"):  # of a process that was killed
            with suppress(OSError):
                lock.unlink()
        self.study = optuna.create_study(
            storage=JournalStorage(JournalFileBackend(str(journal))),
            study_name=STUDY,
            load_if_exists=True,
            directions=["maximize" if f.maximise else "minimize" for f in objectives],
        )

    def suggest(self, number: int) -> Suggestion | None:
        self.study.sampler = self._sampler(number)
        trial = self.study.ask()
        return Suggestion(self.space.draw(trial), trial.number)

    def _sampler(self, number: int) -> Any:
        """A sampler whose randomness is that of this trial alone."""
        import numpy as np
        from optuna.samplers import RandomSampler, TPESampler

        seed = int(np.random.SeedSequence((self.seed, number)).generate_state(1)[0])
        if self.search == "random":
            return RandomSampler(seed=seed)
        # Optuna's ten would be most of a small search.
        first = 10 if self.trials is None else min(10, max(3, self.trials // 4))
        return TPESampler(seed=seed, n_startup_trials=first, constant_liar=True)

    def tell(self, known_as: int | None, figures: Sequence[float] | None) -> None:
        from optuna.trial import TrialState

        if known_as is None or self._states().get(known_as, True):
            return
        if figures is None:
            self.study.tell(known_as, state=TrialState.FAIL)
        else:
            self.study.tell(known_as, list(figures))

    def _states(self) -> Mapping[int, bool]:
        """{number: whether it has ended}."""
        trials = self.study.get_trials(deepcopy=False)
        return {trial.number: trial.state.is_finished() for trial in trials}

    def forget_all_but(self, known: set[int]) -> None:
        for number, ended in self._states().items():
            if not ended and number not in known:
                self.tell(number, None)


def make_sampler(
    space: Space, journal: Path, objectives: Sequence[Figure], settings: TuneConfig
) -> Sampler:
    """The sampler that tune.search names."""
    if settings.search == "grid":
        return GridSampler(space)
    return StudySampler(space, journal, objectives, settings)
