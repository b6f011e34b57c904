"""How a run ends: the test with its best weights, its files and pictures, the manifest."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import Accelerator
from rich.console import Console
from torch import Tensor

from conv_kan.ops.backend import backends_that_ran
from experiments.config.schema import Config
from experiments.data import EvaluationLoader
from experiments.data.containers import ImageDataset, Part
from experiments.errors import DataError, ResourceError, TrainingError
from experiments.files import write_json
from experiments.runs.console import print_summary
from experiments.runs.directory import RunDirectory
from experiments.runs.manifest import now, peak_memory_bytes, update_manifest
from experiments.runs.pictures import draw_pictures
from experiments.runs.tracking import RunLog
from experiments.tasks.base import Task
from experiments.training.first import on_first
from experiments.training.tensor_files import sha256_of
from experiments.training.trainer import Trainer


@dataclass
class Result:
    """What a run has produced. `test` is None where the run was not to be tested."""

    run_dir: Path
    best_epoch: int
    test: dict[str, float] | None


@dataclass
class Ending:
    """What is done once training has ended, and written whichever way it does.

    images: the test split. started: when the process began with the run, in seconds.
    """

    config: Config
    accelerator: Accelerator
    task: Task
    trainer: Trainer
    images: ImageDataset
    directory: RunDirectory
    log: RunLog
    console: Console
    started: float

    def tell_end(self) -> None:
        """Why training has ended, in the manifest; on the terminal where it is not the epochs."""
        reason, progress = str(self.trainer.ended()), self.trainer.progress
        ended = {"reason": reason, "epoch": progress.epoch, "best_epoch": progress.best_epoch}
        if reason == "patience":
            self.console.print(
                f"ended in epoch {progress.epoch}: no better validation "
                f"{self.config.trainer.monitor} for {progress.stale} epochs "
                f"(trainer.patience={self.config.trainer.patience})"
            )
        on_first(self.accelerator, lambda: update_manifest(self.directory.manifest, ended=ended))

    def test(self, loader: EvaluationLoader, way_to_resume: Callable[[], str]) -> Result:
        """Load the best weights, read the test split once, write results and pictures.

        Raises TrainingError: the loss is not finite; what could be computed is written.
        """
        trainer, directory, progress = self.trainer, self.directory, self.trainer.progress
        trainer.load_best()
        with closing(loader):
            try:
                values, metrics = trainer.evaluate(loader)
            except (DataError, ResourceError) as error:
                way = f"Training is done. {way_to_resume()}"
                raise type(error)(f"{error}\n{way}") from error
        record = self.task.record(metrics)
        pictures = on_first(self.accelerator, lambda: self.write_test(values, record))
        print_summary(
            self.console, self.config, self.task, directory, values, progress.best_epoch, pictures
        )
        if not math.isfinite(values["loss"]):
            raise TrainingError(
                f"the test loss is {values['loss']} with the weights of epoch "
                f"{progress.best_epoch}; {directory.test} has the figures that could be computed"
            )
        return Result(directory.path, progress.best_epoch, values)

    def write_test(self, values: dict[str, float], record: dict[str, Any]) -> list[Path]:
        """Write the result, and return the pictures of it."""
        directory, progress = self.directory, self.trainer.progress
        test = {"split": "test", "epoch": progress.best_epoch, "weights": directory.best.name}
        test |= {"metrics": values, **record}
        write_json(directory.test, test)
        update_manifest(directory.manifest, test_sha256=sha256_of(directory.test))
        pictures = draw_pictures(self.task, directory, test, self.console.print, self.predict)
        self.log.track("test", progress.step, values)
        return pictures

    def predict(self, indices: Sequence[int]) -> list[tuple[Tensor, Any, Any]]:
        """Of each of some test items (inputs, outputs, targets), by this process alone."""
        items = Part(self.images, np.asarray(indices, dtype=np.int64))
        recipe = self.task.recipe(training=False)
        with closing(EvaluationLoader(items, recipe, batch_size=1, rank=0, world_size=1)) as loader:
            module = self.trainer.evaluated_module()
            return list(self.trainer.evaluator.predict(module, loader))

    def leave_untested(self) -> Result:
        """The end of a run with trainer.test=false."""
        directory, epoch = self.directory, self.trainer.progress.best_epoch
        on_first(
            self.accelerator, lambda: draw_pictures(self.task, directory, {}, self.console.print)
        )
        self.console.print(f"not tested (trainer.test=false); weights of epoch {epoch}: "
                           f"{directory.best}")  # fmt: skip
        return Result(directory.path, epoch, None)

    def write_end(self, status: str) -> None:
        """Complete the manifest; a full disk must not hide the error that led here."""
        if not self.accelerator.is_main_process:
            return
        step = self.log.median_step()
        rate = self.config.trainer.batch_size / step if step else None
        best = self.trainer.progress.best_sha256 if status == "finished" else None
        try:
            update_manifest(
                self.directory.manifest,
                status=status,
                best_sha256=best or None,
                backend=backends_that_ran(),
                step_seconds=step,
                images_per_second=rate,
                data_share=self.log.data_share(),
                wall_seconds=time.time() - self.started,
                finished=now(),
                peak_memory_bytes=peak_memory_bytes(self.accelerator.device),
            )
        except OSError as error:
            self.console.print(f"the manifest could not be completed: {error}")
