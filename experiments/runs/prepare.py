"""From a config and its data to a run that can begin: what cannot be done is refused here."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import torch
from accelerate import Accelerator
from rich.console import Console
from torch import nn

from experiments.config.schema import Config
from experiments.data.admit import admit
from experiments.data.scan import left_out
from experiments.runs.beginning import freeze_parts, take_up_weights
from experiments.runs.console import print_processes
from experiments.runs.ending import Result
from experiments.runs.facts import run_facts
from experiments.runs.model import check_sizes, make_model, matched_options
from experiments.runs.opening import open_run_directory
from experiments.runs.session import Session
from experiments.runs.setup import describe, describe_run, make_accelerator, script_of
from experiments.tasks.base import Task, create_task
from models.registry import is_kan


def run_session(config: Config, get_data: Callable[[Config], tuple[Any, Any, Any]]) -> Result:
    """The body of experiments.app.run, which see.

    All that can be refused is refused before the run has a directory.
    """
    started = time.time()
    accelerator = make_accelerator(config)
    console = make_console(accelerator)
    print_processes(console, accelerator, config)
    torch.manual_seed(config.seed)
    data = admit(get_data(config), config)
    task = create_task(config, data)
    task.metrics(accelerator.device)  # refuses what it cannot judge
    model, told = build_model(config, task, accelerator.num_processes, console)
    manifest = describe_run(config, accelerator, model, task) | told
    frozen, what = freeze_parts(model, config), config.model["freeze"]  # all were counted before
    manifest["frozen"] = {"what": what, "parameters": frozen.numbers, "how": frozen.words}
    facts = run_facts(accelerator, data, manifest["versions"])
    manifest |= {"script": script_of(get_data), "left_out": left_out(data), "facts": facts}
    session = Session(config, accelerator, data, task, model, facts, console, started)
    try:
        opened = open_run_directory(config, facts, accelerator, console, session.check_length)
    except BaseException:
        session.trainer.close()
        raise
    return session.run(opened, manifest)


def make_console(accelerator: Accelerator) -> Console:
    """The terminal of the first process; those of others say nothing."""
    # What is printed are names of all kinds: in none of them a bracket or a colon is markup.
    return Console(quiet=not accelerator.is_main_process, soft_wrap=True, markup=False, emoji=False)


def build_model(
    config: Config, task: Task, processes: int, console: Console
) -> tuple[nn.Module, dict[str, Any]]:
    """The network of a task as it begins, which has run once, and what the manifest says of it."""
    options, matched = matched_options(config, task.num_outputs, task.input_shape)
    torch.manual_seed(config.seed_of("init"))  # whatever get_data has drawn
    model = make_model(config, task.num_outputs, task.input_shape[0], options)
    here = describe(config.model["name"], options, task)
    begun = None
    if config.model["weights"] is not None and config.trainer.resume is None:
        begun = take_up_weights(model, config, here, console)
    micro_batch = config.trainer.batch_size // (config.trainer.accumulation * processes)
    check_sizes(model, config, task.passed_shapes(), micro_batch, task.check_model)
    return model, {
        "weights": begun,
        "description": here.to_dict(),
        "is_kan": is_kan(config.model["name"], options),
        "match": None if matched is None else asdict(matched),
    }
