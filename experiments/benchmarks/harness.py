"""Times several providers of the same work so that they can be compared.

The providers take turns, A B C A B C ..., and are compared round by round: what the machine does
meanwhile (other programs, clock rates, temperature) then touches all of them alike.
"""

from __future__ import annotations

import gc
import statistics
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch.utils.benchmark import timer  # waits for the accelerator, if there is one

MIN_SAMPLE_SECONDS = 2e-3  # shorter work is repeated within one sample


@dataclass(frozen=True)
class Effort:
    """How long to measure: `seconds` for all rounds together, but this many rounds at least."""

    seconds: float = 4.0
    min_rounds: int = 5
    max_rounds: int = 60
    warm_up: int = 2

    def rounds(self, round_seconds: float) -> int:
        """As many rounds as fit into `seconds`, within the limits."""
        fitting = int(self.seconds / round_seconds) if round_seconds > 0 else self.max_rounds
        return min(max(fitting, self.min_rounds), self.max_rounds)


@dataclass(frozen=True)
class Spread:
    """Median and quartiles of some samples."""

    median: float
    q1: float
    q3: float

    @classmethod
    def of(cls, samples: Sequence[float]) -> Spread:
        if len(samples) == 1:
            return cls(samples[0], samples[0], samples[0])
        q1, median, q3 = statistics.quantiles(samples, n=4, method="inclusive")
        return cls(median, q1, q3)


def interleave(
    providers: Mapping[str, Callable[[], Any]], effort: Effort
) -> dict[str, list[float]]:
    """Seconds of every provider in every round: {name: [round 0, round 1, ...]}.

    Warm-up rounds come first and do not count; the last of them says how many rounds fit, and how
    often a provider that takes less than a few milliseconds is repeated within one sample.
    """
    seconds: dict[str, float] = {}
    for _ in range(max(effort.warm_up, 1)):
        seconds = {name: _sample(step, 1) for name, step in providers.items()}
    repeats = {name: repeats_of(once) for name, once in seconds.items()}
    rounds = effort.rounds(sum(seconds[name] * repeats[name] for name in providers))
    samples: dict[str, list[float]] = {name: [] for name in providers}
    with _collector_off():
        for _ in range(rounds):
            for name, step in providers.items():
                samples[name].append(_sample(step, repeats[name]))
    return samples


def repeats_of(seconds: float) -> int:
    """How often work of so many seconds is repeated within one sample."""
    return max(1, round(MIN_SAMPLE_SECONDS / seconds)) if seconds > 0 else 100


def relative(samples: Sequence[float], baseline: Sequence[float]) -> Spread:
    """Spread of sample / baseline, round by round."""
    return Spread.of([a / b for a, b in zip(samples, baseline, strict=True)])


def _sample(step: Callable[[], Any], repeats: int) -> float:
    """Mean seconds of one call, over `repeats` of them."""
    start = timer()
    for _ in range(repeats):
        step()
    return float(timer() - start) / repeats


@contextmanager
def _collector_off() -> Any:
    """Without Python's collector, whose pauses would fall on one provider or another."""
    gc.collect()
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
