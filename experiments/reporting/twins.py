"""Beside every KAN of a report its plain twin: a network of equal size, trained the same way.

Two rows are twins where one is matched to the other (`model.match`), or both to a third, and all
else but their models agrees: data, recipe, task. Penalties act on KAN layers, and do not count.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from experiments.reporting.read import Run, number
from experiments.tasks.rows import Figure
from models.registry import MATCH, RESERVED, is_kan, parse_reference

Group = list[Run]  # the runs of a row, one of each seed
_ASIDE = (*MATCH, *RESERVED, "backend")  # options that do not say which network it is
_VERDICTS = LOSES, WINS, WITHIN, ONE_SEED = (
    "loses", "wins", "within the deviation", "with one seed in common",
)  # fmt: skip


@dataclass(frozen=True)
class Twin:
    """A KAN and its twin over the seeds that both have finished: the test scores of each."""

    model: str
    figure: Figure
    own: tuple[float, ...]
    other: tuple[float, ...]

    @property
    def differences(self) -> list[float]:
        return [a - b for a, b in zip(self.own, self.other, strict=True)]

    @property
    def difference(self) -> float:
        """Mean of the KAN minus that of its twin."""
        return statistics.fmean(self.differences)

    @property
    def deviation(self) -> float | None:
        """The sample deviation of the difference over the seeds; None for one seed."""
        return _deviation(self.differences)

    @property
    def verdict(self) -> str:
        """What the KAN does; with one seed there is no deviation to tell it."""
        if self.deviation is None:
            return ONE_SEED
        if abs(self.difference) <= self.deviation:
            return WITHIN
        return WINS if (self.difference > 0) == self.figure.maximise else LOSES

    @property
    def is_behind(self) -> bool:
        """Whether the twin's mean is the better one."""
        return self.difference < 0 if self.figure.maximise else self.difference > 0

    def columns(self) -> dict[str, Any]:
        """The cells of the KAN's row."""
        return {
            "twin": self.model,
            "twin_seeds": len(self.other),
            "twin_test": statistics.fmean(self.other),
            "twin_test_std": _deviation(self.other),
            "twin_difference": self.difference,
            "twin_difference_std": self.deviation,
            "twin_verdict": self.verdict,
        }


def learns_functions(run: Run) -> bool:
    """Whether a run's model is a KAN, as its manifest tells, or for older runs the registry."""
    told = run.manifest.get("is_kan")
    if isinstance(told, bool):
        return told
    model = _model(run)
    try:
        return is_kan(str(model.get("name")), model)
    except ValueError:
        return False


def find_twins(groups: Sequence[Group]) -> list[Twin | None]:
    """The plain twin of every group that is a KAN; of several, the one with the best score."""
    kans = [learns_functions(group[0]) for group in groups]
    sizes = [_size_class(group[0]) for group in groups]
    found: list[Twin | None] = []
    for i, group in enumerate(groups):
        twins = [
            twin
            for j, other in enumerate(groups)
            if kans[i] and not kans[j] and _are_equal(sizes[i], sizes[j])
            for twin in _compared(group, other)
        ]
        found.append(max(twins, key=lambda twin: _score(twin), default=None))
    return found


def tell(rows: Sequence[dict[str, Any]], twins: Sequence[Twin | None], kans: int) -> list[str]:
    """Where KANs lose, a line each, and how many have no twin."""
    lines = []
    for row, twin in zip(rows, twins, strict=True):
        if twin is not None and twin.is_behind:
            lines.append(f"{_named(row)} {_told(twin)}")
    verdicts = [twin.verdict for twin in twins if twin is not None]
    if verdicts:
        counts = ", ".join(f"{verdicts.count(word)} {word}" for word in _VERDICTS)
        lines.append(f"KAN rows with a plain twin: {counts}")
    if missing := kans - len(verdicts):
        lines.append(
            f"{missing} KAN {'rows have' if missing > 1 else 'row has'} no finished plain twin "
            "here; train a plain model with model.match=NAME, or 'NAME option=value ...'"
        )
    return lines


# ------------------------------------------------------------------------------------ who is a twin
@dataclass(frozen=True)
class _SizeClass:
    """What a network's size is that of: itself (by is None), or the one it is matched to."""

    reference: str
    rest: str
    by: str | None


def _size_class(run: Run) -> _SizeClass | None:
    """None for a run whose config tells no model, or a reference that is not known here."""
    model = _model(run)
    if not model:
        return None
    text, by = (model.get(key) for key in MATCH)
    name, options = str(model.get("name")), {k: v for k, v in model.items() if k != "name"}
    if text is not None:
        try:
            name, options = parse_reference(str(text))
        except ValueError:
            return None
    options = {key: value for key, value in options.items() if key not in _ASIDE}
    begun = model.get("weights") is not None, model.get("freeze")
    rest = {
        key: value
        for key, value in run.settings.items()
        if key.partition(".")[0] not in ("model", "penalty")
    }
    reference, others = (
        json.dumps(part, sort_keys=True, default=str) for part in ([name, options], [rest, begun])
    )
    return _SizeClass(reference, others, None if text is None else str(by))


def _are_equal(one: _SizeClass | None, other: _SizeClass | None) -> bool:
    if one is None or other is None or (one.by is None and other.by is None):
        return False
    same = (one.reference, one.rest) == (other.reference, other.rest)
    return same and (None in (one.by, other.by) or one.by == other.by)


def _model(run: Run) -> dict[str, Any]:
    model = run.config.get("model")
    return model if isinstance(model, dict) else {}


# -------------------------------------------------------------------------------- who is the better
def _compared(group: Group, other: Group) -> Iterator[Twin]:
    """The comparison by the first figure of their task, if they have finished a seed in common."""
    if not group[0].columns:
        return
    figure = group[0].columns[0]
    own, others = (_scores(runs, figure.name) for runs in (group, other))
    seeds = [seed for seed in own if seed in others]
    if seeds:
        name = str(_model(other[0]).get("name"))
        yield Twin(name, figure, *(tuple(s[seed] for seed in seeds) for s in (own, others)))


def _scores(runs: Group, figure: str) -> dict[str, float]:
    found = {str(run.config.get("seed")): number(run.test, figure) for run in runs}
    return {seed: value for seed, value in found.items() if value is not None}


def _score(twin: Twin) -> float:
    mean = statistics.fmean(twin.other)
    return mean if twin.figure.maximise else -mean


def _deviation(values: Sequence[float]) -> float | None:
    return statistics.stdev(values) if len(values) > 1 else None


# ---------------------------------------------------------------------------------------- in words
def _named(row: dict[str, Any]) -> str:
    settings = f" ({row['settings']})" if row["settings"] else ""
    return f"{row['model']} on {row['data']}{settings}"


def _told(twin: Twin) -> str:
    shown = [_shown(twin.figure, statistics.fmean(v)) for v in (twin.own, twin.other)]
    figure = twin.figure.heading or twin.figure.name
    text = f"{figure} {shown[0]} against {shown[1]} of its twin {twin.model}"
    if twin.deviation is None:
        return f"is behind: {text}; one seed in common does not tell whether by chance"
    by = f"{_shown(twin.figure, abs(twin.difference))} ± {_shown(twin.figure, twin.deviation)}"
    seeds = f"over {len(twin.own)} seeds"
    if twin.verdict == WITHIN:
        return f"is behind within the deviation: {text}, by {by} {seeds}"
    return f"loses: {text}, by {by} {seeds}"


def _shown(figure: Figure, value: float) -> str:
    return f"{100 * value:.2f} %" if figure.percent else f"{value:.4f}"
