"""Pictures of a search, drawn by Optuna from its records: whoever suggested the trials."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib

from experiments.reporting.plots import save_figure
from experiments.runs.pictures import draw_each
from experiments.tuning.directory import SCORED
from experiments.tuning.distributions import Distribution
from experiments.tuning.journal import Journal
from experiments.tuning.space import Space


def draw_pictures(journal: Journal, space: Space, say: Callable[[str], object]) -> list[Path]:
    """Draw history, parallel coordinates and importance of each objective, and the Pareto front.

    One that cannot be drawn of so few trials is named, and ends nothing.
    """
    matplotlib.use("Agg")
    pictures = _pictures(study_of(journal, space), journal)
    places = {journal.search.path / f"{name}.png": partial(_draw, draw)
              for name, draw in pictures.items()}  # fmt: skip
    return draw_each(places, say)


def _draw(draw: Callable[[], Any], path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna calls its pictures experimental
        axes = draw()
    figure = getattr(axes, "flat", [axes])[0].figure
    figure.set_size_inches(9, 5)
    if path.name.startswith("parallel"):  # whose axes would each lay a grid over all lines
        for one in figure.axes:
            one.grid(False)
    figure.set_layout_engine("tight")  # another one divides by heights of 0
    save_figure(figure, path)
    _close(figure)


def _pictures(study: Any, journal: Journal) -> dict[str, Callable[[], Any]]:
    from optuna.visualization import matplotlib as plots

    names = [figure.name for figure in journal.goals.objectives]
    varied = {key for trial in study.trials for key in trial.params}
    found: dict[str, Callable[[], Any]] = {}
    for place, name in enumerate(names):
        several = len(names) > 1
        target = partial(_value_of, place) if several else None
        kinds: dict[str, Callable[..., Any]] = {"history": plots.plot_optimization_history}
        if len(varied) > 1:  # of one key there is nothing to compare
            kinds |= {"parallel": plots.plot_parallel_coordinate,
                      "importance": plots.plot_param_importances}  # fmt: skip
        for kind, draw in kinds.items():
            picture = f"{kind}_{name}" if several else kind
            found[picture] = partial(draw, study, target=target, target_name=name)
    if len(names) in (2, 3):
        found["pareto"] = partial(plots.plot_pareto_front, study, target_names=names)
    return found


def _value_of(place: int, trial: Any) -> float:
    return float(trial.values[place])


def study_of(journal: Journal, space: Space) -> Any:
    """The trials with figures as a study of Optuna's, in memory."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    goals = journal.goals.objectives
    study = optuna.create_study(
        directions=["maximize" if figure.maximise else "minimize" for figure in goals]
    )
    for record in journal.records.values():
        found = [record.figures.get(figure.name) for figure in goals]
        figures = [value for value in found if value is not None]
        if record.status not in SCORED or len(figures) < len(goals):
            continue
        known = {key: space[key].distribution for key in record.values}
        study.add_trial(
            optuna.trial.create_trial(
                values=figures,
                params={key: known[key].value(text) for key, text in record.values.items()},
                distributions={key: distribution_of(d) for key, d in known.items()},
            )
        )
    return study


def distribution_of(known: Distribution) -> Any:
    """Optuna's word for a distribution."""
    from optuna import distributions

    if known.options:
        return distributions.CategoricalDistribution(known.options)
    if known.whole:
        low, high, step = int(known.low), int(known.high), int(known.step or 1)
        return distributions.IntDistribution(low, high, step=step)
    return distributions.FloatDistribution(known.low, known.high, log=known.log, step=known.step)


def _close(figure: Any) -> None:
    from matplotlib import pyplot

    pyplot.close(figure)
