"""One run from an open run directory to its result: fit, test, files, and what each end says."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from rich.console import Console
from torch import nn

from conv_kan.ops.backend import backends_that_ran
from experiments.config.parse import to_dict
from experiments.config.schema import Config
from experiments.data import Datasets, EvaluationLoader, TrainLoader
from experiments.data.admit import admit
from experiments.errors import DataError, TrainingError
from experiments.files import write_json
from experiments.reporting.plots import plot_curves
from experiments.runs.console import print_processes, print_start, print_summary
from experiments.runs.directory import RunDirectory
from experiments.runs.manifest import now, peak_memory_bytes, update_manifest
from experiments.runs.model import make_model
from experiments.runs.setup import (
    Opened,
    make_accelerator,
    open_run_directory,
    read_test,
    start_files,
)
from experiments.runs.tracking import RunLog, start_tracker
from experiments.tasks.base import Task, create_task
from experiments.tasks.rows import LOSS
from experiments.training.checkpoint import load_weights, read_tensors
from experiments.training.interrupt import Interrupted
from experiments.training.optim import build_optimizer, build_scheduler
from experiments.training.trainer import Trainer


@dataclass
class Result:
    """What a run has produced. `test` is None where the run was stopped before its end."""

    run_dir: Path
    best_epoch: int
    test: dict[str, float] | None


def run_session(config: Config, get_data: Callable[[Config], tuple[Any, Any, Any]]) -> Result:
    """The body of experiments.app.run, which see."""
    started = time.time()
    accelerator = make_accelerator(config)
    console = Console(quiet=not accelerator.is_main_process, soft_wrap=True)
    print_processes(console, accelerator, config)
    torch.manual_seed(config.seed)
    data = admit(get_data(config), config)
    task = create_task(config, data)
    model = make_model(config, task.num_outputs, task.input_shape[0])
    opened = open_run_directory(config, console)
    directory = opened.directory
    if opened.checkpoint is None and directory.test.exists():
        console.print(f"{directory.path} is finished; nothing is left to do.")
        test = read_test(directory)
        return Result(directory.path, test["epoch"], test["metrics"])
    manifest = start_files(opened, config, accelerator, model, task)
    print_start(console, config, manifest, data, directory)
    session = Session(config, accelerator, data, task, model, directory, console, started)
    return session.run(opened)


class Session:
    """The part of a run between an open run directory and its result."""

    def __init__(
        self,
        config: Config,
        accelerator: Accelerator,
        data: Datasets,
        task: Task,
        model: nn.Module,
        directory: RunDirectory,
        console: Console,
        started: float,
    ) -> None:
        self.config, self.accelerator, self.data, self.task = config, accelerator, data, task
        self.directory, self.console, self.started = directory, console, started
        self.main = accelerator.is_main_process
        train_loader = training_loader(config, task, data.train, **self.ranks())
        overfit = config.trainer.overfit_batches
        validation = train_loader.seen_images() if overfit else data.validation
        total_steps = train_loader.steps_per_epoch * config.trainer.epochs
        values = to_dict(config)
        self.log = self.make_log(train_loader.steps_per_epoch, values)
        task.attach(model)
        self.trainer = Trainer(
            config.trainer,
            seed=config.seed,
            accelerator=accelerator,
            model=model,
            task=task,
            optimizer=build_optimizer(model, config.optimizer),
            make_scheduler=lambda opt: build_scheduler(opt, config.scheduler, total_steps),
            train_loader=train_loader,
            validation_loader=self.evaluation_loader(validation),
            checkpoints=directory.checkpoints,
            best_path=directory.best,
            log=self.log,
            run_config=values,
        )

    def make_log(self, steps_per_epoch: int, values: dict[str, Any]) -> RunLog:
        config, tracker = self.config, None
        if self.main:
            tracker = start_tracker(config.tracker, self.directory, config.name, values)
        return RunLog(
            self.directory,
            main=self.main,
            row=self.task.row,
            steps_per_epoch=steps_per_epoch,
            epochs=config.trainer.epochs,
            batch_size=config.trainer.batch_size,
            progress=config.trainer.progress,
            console=self.console,
            tracker=tracker,
        )

    def ranks(self) -> dict[str, int]:
        return {
            "rank": self.accelerator.process_index,
            "world_size": self.accelerator.num_processes,
        }

    def evaluation_loader(self, dataset: Any) -> EvaluationLoader:
        return EvaluationLoader(
            dataset,
            self.task.recipe(training=False),
            batch_size=self.config.trainer.evaluation_batch_size,
            workers=self.config.data.workers,
            **self.ranks(),
        )

    def begin(self, opened: Opened) -> None:
        """Take up this run's checkpoint, or that of another one as the beginning."""
        if opened.checkpoint is not None:
            self.trainer.load(opened.checkpoint)
            self.console.print(f"resumed from {opened.checkpoint}")
            for key, (old, new) in opened.changes.items():
                self.console.print(f"{key}: {old!r} -> {new!r}, as the manifest tells")
        elif opened.parent is not None:
            self.trainer.begin_from(opened.parent)
            self.console.print(f"begins with {opened.parent}")

    def run(self, opened: Opened) -> Result:
        """Fit and test; on any end the manifest says which one it was."""
        status = "failed"
        try:
            self.begin(opened)
            self.fit()
            result = self.test()
            status = "finished"
            return result
        except Interrupted:
            status = "interrupted"
            self.console.print(
                f"\nstopped on request; step {self.trainer.progress.step} is saved. "
                f"{self.way_to_resume()}"
            )
            raise
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            raise TrainingError(
                f"the disk is full: {error}\nFree space. {self.way_to_resume()}"
            ) from error
        finally:
            self.log.close()
            self.trainer.close()
            self.write_end(status)

    def fit(self) -> None:
        try:
            self.trainer.fit()
        except DataError as error:
            error.during_training = True  # type: ignore[attr-defined]
            if self.accelerator.num_processes > 1:
                raise  # the other processes are mid-step: there is no common state to save
            self.trainer.save()
            raise DataError(
                f"{error}\nProgress up to step {self.trainer.progress.step} is saved. "
                f"{self.way_to_resume()}"
            ) from error
        except TrainingError as error:
            error.during_training = True  # type: ignore[attr-defined]
            raise

    def way_to_resume(self) -> str:
        if self.directory.checkpoints.last() is None:
            return "There is no checkpoint yet: start again."
        return f"Resume with the same command and trainer.resume={self.directory.path}"

    def test(self) -> Result:
        """Load the best weights, read the test split once, write results and pictures."""
        trainer, directory = self.trainer, self.directory
        load_weights(trainer.evaluated_module(), read_tensors(directory.best), directory.best)
        with closing(self.evaluation_loader(self.data.test)) as loader:
            values, metrics = trainer.evaluate(loader)
        record, pictures = self.task.record(metrics), []
        progress = trainer.progress
        if self.main:
            test = {
                "split": "test",
                "epoch": progress.best_epoch,
                "weights": directory.best.name,
                "metrics": values,
                **record,
            }
            pictures = self.draw(test)
            write_json(directory.test, test)
            if self.log.tracker is not None:
                self.log.tracker.log(
                    {f"test/{k}": v for k, v in values.items()}, step=progress.step
                )
        self.accelerator.wait_for_everyone()
        print_summary(
            self.console, self.config, self.task, directory, values, progress.best_epoch, pictures
        )
        return Result(directory.path, progress.best_epoch, values)

    def draw(self, test: dict[str, Any]) -> list[Path]:
        """The learning curves of the loss and the running figure, and the task's own pictures."""
        row, directory = self.task.row, self.directory
        running = [] if row.running is None else [row.figure(row.running)]
        plot_curves(directory.metrics, directory.curves, [LOSS, *running])
        drawn = [directory.curves]
        for name, draw in self.task.pictures(test).items():
            drawn.append(directory.picture(name))
            draw(drawn[-1])
        return drawn

    def write_end(self, status: str) -> None:
        """Complete the manifest; a full disk must not hide the error that led here."""
        if not self.main:
            return
        step = self.log.median_step()
        rate = self.config.trainer.batch_size / step if step else None
        try:
            update_manifest(
                self.directory.manifest,
                status=status,
                backend=backends_that_ran(),
                step_seconds=step,
                images_per_second=rate,
                wall_seconds=time.time() - self.started,
                finished=now(),
                peak_memory_bytes=peak_memory_bytes(self.accelerator.device),
            )
        except OSError as error:
            self.console.print(f"the manifest could not be completed: {error}")


def training_loader(
    config: Config, task: Task, dataset: Any, *, rank: int, world_size: int
) -> TrainLoader:
    """The micro-batches of a run, changed at random unless some are to be learnt by heart."""
    trainer = config.trainer
    return TrainLoader(
        dataset,
        task.recipe(training=trainer.overfit_batches == 0),
        batch_size=trainer.batch_size,
        accumulation=trainer.accumulation,
        seed=config.seed,
        rank=rank,
        world_size=world_size,
        workers=config.data.workers,
        limit_steps=trainer.limit_steps,
        overfit_batches=trainer.overfit_batches,
    )
