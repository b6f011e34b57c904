"""One run from an open run directory to its result: fit, test, files, and what each end says."""

from __future__ import annotations

import errno
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from rich.console import Console
from rich.table import Table
from torch import nn

from conv_kan.ops.backend import backends_that_ran
from experiments.config.parse import to_dict
from experiments.config.schema import Config
from experiments.data import DataInfo, Datasets, EvaluationLoader, TrainLoader, describe
from experiments.errors import DataError, TrainingError
from experiments.files import write_json
from experiments.reporting.plots import plot_confusion_matrix, plot_curves
from experiments.runs.build import GetData, make_model
from experiments.runs.directory import RunDirectory
from experiments.runs.manifest import now, peak_memory_bytes, update_manifest
from experiments.runs.setup import (
    make_accelerator,
    open_run_directory,
    print_processes,
    read_test,
    start_files,
)
from experiments.runs.tracking import RunLog, start_tracker
from experiments.tasks.classification import ClassificationTask
from experiments.tasks.losses import build_loss
from experiments.tasks.metrics import ClassificationMetrics, check_monitor
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


def run_session(config: Config, get_data: GetData) -> Result:
    """The body of experiments.app.run, which see."""
    started = time.time()
    accelerator = make_accelerator(config)
    console = Console(quiet=not accelerator.is_main_process, soft_wrap=True)
    print_processes(console, accelerator, config)
    torch.manual_seed(config.seed)
    data = Datasets(*get_data(config))
    info = describe(data, config.data)
    check_monitor(config.trainer.monitor, info.num_classes, config.metrics)
    model = make_model(config, info.num_classes, info.channels)
    directory, checkpoint = open_run_directory(config, accelerator, console)
    if checkpoint is None and directory.test.exists():
        console.print(f"{directory.path} is finished; nothing is left to do.")
        test = read_test(directory)
        return Result(directory.path, test["epoch"], test["metrics"])
    manifest = start_files(directory, config, accelerator, model, info, checkpoint is not None)
    console.print(
        f"{config.model['name']} on {config.data.name}: {manifest['parameters']:,} parameters, "
        f"{manifest['macs']:,} multiply-adds per image; {len(data.train)} training, "
        f"{len(data.validation)} validation, {len(data.test)} test images"
    )
    console.print(f"run directory: {directory.path}")
    session = Session(config, accelerator, data, info, model, directory, console, started)
    return session.run(checkpoint)


class Session:
    """The part of a run between an open run directory and its result."""

    def __init__(
        self,
        config: Config,
        accelerator: Accelerator,
        data: Datasets,
        info: DataInfo,
        model: nn.Module,
        directory: RunDirectory,
        console: Console,
        started: float,
    ) -> None:
        self.config, self.accelerator, self.data, self.info = config, accelerator, data, info
        self.directory, self.console, self.started = directory, console, started
        self.main = accelerator.is_main_process
        train_loader = TrainLoader(
            data.train,
            config.data,
            config.augment,
            info,
            batch_size=config.trainer.batch_size,
            accumulation=config.trainer.accumulation,
            seed=config.seed,
            **self.ranks(),
            limit_steps=config.trainer.limit_steps,
            overfit_batches=config.trainer.overfit_batches,
        )
        validation = (
            train_loader.seen_images() if config.trainer.overfit_batches else data.validation
        )
        total_steps = train_loader.steps_per_epoch * config.trainer.epochs
        values = to_dict(config)
        tracker = (
            start_tracker(config.tracker, directory, config.name, values) if self.main else None
        )
        self.log = RunLog(
            directory,
            main=self.main,
            steps_per_epoch=train_loader.steps_per_epoch,
            epochs=config.trainer.epochs,
            batch_size=config.trainer.batch_size,
            progress=config.trainer.progress,
            console=console,
            tracker=tracker,
        )
        self.trainer = Trainer(
            config.trainer,
            seed=config.seed,
            accelerator=accelerator,
            model=model,
            task=ClassificationTask(
                model, build_loss(config.loss, info.num_classes), config.penalty
            ),
            optimizer=build_optimizer(model, config.optimizer),
            make_scheduler=lambda opt: build_scheduler(opt, config.scheduler, total_steps),
            train_loader=train_loader,
            validation_loader=self.evaluation_loader(validation),
            make_metrics=lambda: ClassificationMetrics(
                info.num_classes, config.metrics, accelerator.device
            ),
            checkpoints=directory.checkpoints,
            best_path=directory.best,
            log=self.log,
            run_config=values,
        )

    def ranks(self) -> dict[str, int]:
        return {
            "rank": self.accelerator.process_index,
            "world_size": self.accelerator.num_processes,
        }

    def evaluation_loader(self, dataset: Any) -> EvaluationLoader:
        return EvaluationLoader(
            dataset,
            self.config.data,
            self.info,
            batch_size=self.config.trainer.evaluation_batch_size,
            **self.ranks(),
        )

    def run(self, checkpoint: Path | None) -> Result:
        """Fit and test; on any end the manifest says which one it was."""
        status = "failed"
        try:
            if checkpoint is not None:
                self.trainer.load(checkpoint)
                self.console.print(f"resumed from {checkpoint}")
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
        matrix = metrics.confusion_matrix().tolist()
        progress = trainer.progress
        if self.main:
            test = {
                "split": "test",
                "epoch": progress.best_epoch,
                "weights": directory.best.name,
                "metrics": values,
                "confusion_matrix": matrix,
                "class_names": list(self.info.class_names),
            }
            plot_curves(directory.metrics, directory.curves)
            plot_confusion_matrix(matrix, self.info.class_names, directory.confusion_matrix)
            write_json(directory.test, test)
            if self.log.tracker is not None:
                self.log.tracker.log(
                    {f"test/{k}": v for k, v in values.items()}, step=progress.step
                )
        self.accelerator.wait_for_everyone()
        print_summary(self.console, self.config, directory, progress.best_epoch, values)
        return Result(directory.path, progress.best_epoch, values)

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


def print_summary(
    console: Console,
    config: Config,
    directory: RunDirectory,
    best_epoch: int,
    values: dict[str, float],
) -> None:
    title = (
        f"{config.model['name']} on {config.data.name}, test split, weights of epoch {best_epoch}"
    )
    table = Table(title=title)
    table.add_column("metric")
    table.add_column("value", justify="right")
    for name, value in values.items():
        table.add_row(name, f"{value:.4f}")
    console.print(table)
    for label, path in (
        ("curves", directory.curves),
        ("confusion", directory.confusion_matrix),
        ("weights", directory.best),
        ("results", directory.test),
    ):
        console.print(f"{label:>10}: {path}")
