"""A finished run on any split of its data, or on other data: figures, each class, calibration.

    python -m experiments.evaluate RUN
    python -m experiments.evaluate RUN --split validation --tta
    python -m experiments.evaluate RUN data=folder data.root=PATH

Writes EVALUATION.json and pictures into RUN/evaluations, or into --out. On its test split a run has
the figures of its test.json, which stays as it is. Exit codes: 0 done, 2 a mistake that the message
explains.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from experiments.app import default_data, exit_with_message
from experiments.config.resume import REFUSED, changed_facts, policy
from experiments.config.schema import Config
from experiments.data import Datasets
from experiments.data.admit import admit
from experiments.errors import ConfigError, in_words, nearest
from experiments.runs.evaluation import evaluate_split, print_evaluation, published
from experiments.runs.evaluation_files import write_evaluation
from experiments.runs.facts import run_facts
from experiments.runs.model import check_forward
from experiments.runs.prepare import make_console
from experiments.runs.setup import make_accelerator
from experiments.runs.terminal import lasting_output
from experiments.tasks.answers import Answering
from experiments.tasks.base import Task, create_task
from experiments.usage.load import LoadedRun, load_run
from experiments.usage.recompose import PRECISIONS, Recomposed, recompose
from experiments.usage.renamed import as_trained
from experiments.usage.scripts import WAY, names_its_data

GetData = Callable[[Config], tuple[Any, Any, Any]]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; return the exit code."""
    options = _parser().parse_intermixed_args(arguments)
    with lasting_output(), exit_with_message("stopped; nothing was written"), in_words():
        _evaluate(options)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.evaluate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", metavar="RUN", help="a run directory")
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="KEY=VALUE",
        help="data=NAME, keys of data, metrics and task, trainer.evaluation_batch_size",
    )
    parser.add_argument("--split", default="test", help="test (as given), validation or train")
    parser.add_argument(
        "--tta",
        action="store_true",
        help="the mean of the outputs for each image and for its mirror image, left to right",
    )
    parser.add_argument(
        "--precision", choices=tuple(PRECISIONS), help="of the network; as in training unless given"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="where to write; RUN/evaluations")
    parser.add_argument("--script", metavar="FILE", help="the script of the run, with get_data")
    return parser


def _evaluate(options: argparse.Namespace) -> None:
    if options.split not in Datasets._fields:
        near = nearest(options.split, Datasets._fields)
        raise ConfigError(f"--split {options.split}: one of {', '.join(Datasets._fields)}{near}")
    run = load_run(options.run, options.script)
    if not run.config:
        raise ConfigError(
            f"{options.run} has no config.yaml, which says how its data are read: give the run "
            "directory; predict and export take a file or folder of weights"
        )
    asked = recompose(run.config, run.description, options.overrides)
    config = _with_precision(asked.config, run, options.precision)
    accelerator = make_accelerator(config)
    console = make_console(accelerator)
    data = admit(_get_data(run, asked)(config), config)
    same = _same_data(run, data, accelerator)
    if not same and not asked.other_data:
        console.print("these are not the data that the run was tested on: names, labels or counts "
                      "differ; the figures are of these")  # fmt: skip
    data = as_trained(data, run.class_names)
    task = _task(run, config, data, asked.repixelled)
    try:
        module = Answering(run.model, run.answers, mirror=True) if options.tta else run.model
        dataset = getattr(data, options.split)
        evaluation = evaluate_split(config, accelerator, task, module, dataset, console)
    finally:
        task.close()
    title = f"{run.description.model} on {config.data.name}, {options.split} split"
    if accelerator.is_main_process:
        print_evaluation(console, title, task, evaluation)
        about = _about(options, run, config, accelerator.mixed_precision, same)
        rule = run.description.preprocessing
        keys = published(run.description.model, task, run.model, evaluation.values, rule)
        folder = options.out or run.path / "evaluations"
        write_evaluation(folder, about, keys, task, evaluation, console)


def _with_precision(config: Config, run: LoadedRun, asked: str | None) -> Config:
    """The config in the precision asked for, else as it says, else in that of the run."""
    before = run.manifest.get("precision")
    precision = PRECISIONS[asked] if asked else config.trainer.precision or before
    return replace(config, trainer=replace(config.trainer, precision=precision))


def _get_data(run: LoadedRun, asked: Recomposed) -> GetData:
    """The data of the script that was given; else those that the config names.

    Raises: ConfigError: the run's own come from a script that is to be given.
    """
    if run.script is not None:
        found = getattr(run.script, "get_data", None)
        if callable(found):
            return found  # type: ignore[no-any-return]
        if not (asked.other_data or names_its_data(Path(str(run.script.__file__)))):
            raise ConfigError(
                f"script={run.script.__file__} has no get_data(cfg), which gives the data"
            )
        return default_data
    script = run.manifest.get("script")
    path = Path(str(script["path"])) if isinstance(script, dict) and script.get("path") else None
    if asked.other_data or path is None or not path.is_file() or names_its_data(path):
        return default_data
    raise ConfigError(
        f"the data of this run come from get_data of {path}, which is not imported unasked: {WAY}; "
        "or name other data (data=NAME)"
    )


def _same_data(run: LoadedRun, data: Datasets, accelerator: Any) -> bool:
    """Whether these are the data of the run, by names, labels and counts."""
    recorded = run.manifest.get("facts")
    before = recorded.get("data") if isinstance(recorded, dict) else None
    if not isinstance(before, dict):
        return False
    now = run_facts(accelerator, data, {})["data"]
    if before.get("images", [0])[-1] == 0:  # trainer.test=false: what it was not to see is no fact
        return bool(before.get("images", [])[:2] == now["images"][:2])
    changed = changed_facts({"data": before}, {"data": now})
    return not any(policy(key) == REFUSED for key in changed)


def _task(run: LoadedRun, config: Config, data: Datasets, repixelled: bool) -> Task:
    named = replace(config.data, num_classes=_count(run, data))
    task = create_task(replace(config, data=named), data)
    rule = None if repixelled else run.description.preprocessing
    task.adopt(replace(run.description, preprocessing=rule))
    if repixelled:
        option, shape = next(iter(task.passed_shapes().items()))
        check_forward(run.model, config, shape, 2, task.check_model, option)
    task.attach(run.model.eval())
    return task


def _count(run: LoadedRun, data: Datasets) -> int | None:
    """The classes of data that do not name them, by those of the network."""
    named = len(getattr(data.train, "classes", ()))
    return max(len(run.class_names), named) or None


def _about(
    options: argparse.Namespace, run: LoadedRun, config: Config, precision: str, same: bool
) -> dict[str, Any]:
    return {
        "run": str(run.path),
        "weights_sha256": run.manifest.get("best_sha256"),
        "split": options.split,
        "data": config.data.name,
        "data_of_the_run": same,
        "overrides": list(options.overrides),
        "precision": precision,
        "tta": "mean of the outputs for image and mirror image" if options.tta else None,
    }
