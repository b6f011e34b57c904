"""A run with trainer.mode=evaluate: the test split through trained weights, and nothing else."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from experiments.config.schema import Config
from experiments.data.admit import admit
from experiments.errors import ConfigError
from experiments.runs.ending import Result
from experiments.runs.evaluation import evaluate_split, print_evaluation, published
from experiments.runs.evaluation_files import write_evaluation
from experiments.runs.prepare import build_model, make_console
from experiments.runs.setup import make_accelerator
from experiments.tasks.base import create_task


def run_evaluation(config: Config, get_data: Callable[[Config], tuple[Any, Any, Any]]) -> Result:
    """Evaluate the network of the config on its test split, as a run tests itself.

    Images become inputs as the config says. The result lies in runs_dir/name/evaluations, which is
    the Result's run_dir; its best_epoch is 0.

    Raises: ConfigError: there are no trained weights, or not for all of the network.
    """
    accelerator = make_accelerator(config)
    console = make_console(accelerator)
    _require_weights(config)
    torch.manual_seed(config.seed)
    data = admit(get_data(config), config)
    task = create_task(config, data)
    model, told = build_model(config, task, accelerator.num_processes, console)
    begun, source = told["weights"] or {}, config.model["weights"]
    if begun.get("left"):
        raise ConfigError(
            f"model.weights={source} has no values for {', '.join(begun['left'])}, and "
            "trainer.mode=evaluate trains nothing: give the data that the network was trained "
            "for, or train it (trainer.mode=train)"
        )
    task.attach(model.eval())
    try:
        evaluation = evaluate_split(config, accelerator, task, model, data.test, console)
    finally:
        task.close()
    name, folder = config.model["name"], Path(config.runs_dir) / config.name / "evaluations"
    if accelerator.is_main_process:
        print_evaluation(console, f"{name} on {config.data.name}, test split", task, evaluation)
        rule = task.describe().get("preprocessing")
        keys = published(name, task, model, evaluation.values, rule)
        about = {
            "run": source,
            "weights_sha256": begun.get("sha256"),
            "split": "test",
            "data": config.data.name,
            "overrides": sys.argv[1:],
            "precision": accelerator.mixed_precision,
            "tta": None,
        }
        write_evaluation(folder, about, keys, task, evaluation, console)
    return Result(folder, 0, evaluation.values)


def _require_weights(config: Config) -> None:
    """Refuse a network that would answer by chance, and words of training. Raises: ConfigError."""
    for key in ("resume", "start_from"):
        if getattr(config.trainer, key) is not None:
            raise ConfigError(
                f"trainer.{key}={getattr(config.trainer, key)} with trainer.mode=evaluate, which "
                "trains nothing: type model.weights=RUN for the best weights of a run"
            )
    if config.model["weights"] is None and not config.model.get("pretrained"):
        raise ConfigError(
            "trainer.mode=evaluate needs trained weights: type model.weights=RUN (or a file, a "
            "folder or repository of the hub, timm:NAME), or model.pretrained=true where the model "
            "has it"
        )
