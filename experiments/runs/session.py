"""One run from an open run directory to its result: it begins, trains, and ends in words."""

from __future__ import annotations

from typing import Any

from accelerate import Accelerator
from accelerate.tracking import GeneralTracker
from rich.console import Console
from torch import nn

from experiments.config.parse import to_dict
from experiments.config.schema import Config
from experiments.data import Datasets, EvaluationLoader
from experiments.errors import ConfigError, DataError, ResourceError, shortage
from experiments.runs.beginning import take_up_weights
from experiments.runs.console import print_start
from experiments.runs.directory import RunDirectory
from experiments.runs.ending import Ending, Result
from experiments.runs.manifest import now, update_manifest
from experiments.runs.opening import Opened
from experiments.runs.setup import start_files, training_loader
from experiments.runs.trackers import start_tracker
from experiments.runs.tracking import RunLog
from experiments.tasks.base import Task
from experiments.training.first import on_first
from experiments.training.interrupt import Interrupted
from experiments.training.length import check_length
from experiments.training.optim import build_optimizer, build_scheduler
from experiments.training.start_from import begin_from
from experiments.training.trainer import Trainer
from models.description import Description


class Session:
    """The part of a run after its config and data: what trains, then where it writes, then both."""

    directory: RunDirectory
    manifest: dict[str, Any]
    log: RunLog
    ending: Ending

    def __init__(
        self,
        config: Config,
        accelerator: Accelerator,
        data: Datasets,
        task: Task,
        model: nn.Module,
        facts: dict[str, Any],
        console: Console,
        started: float,
    ) -> None:
        self.config, self.accelerator, self.data, self.task = config, accelerator, data, task
        self.console, self.started = console, started
        self.main = accelerator.is_main_process
        train_loader = training_loader(config, task, data.train, **self.ranks())
        overfit = config.trainer.overfit_batches
        validation = train_loader.seen_images() if overfit else data.validation
        selects = config.data.fit == "train"
        per_epoch = train_loader.steps_per_epoch
        total_steps = per_epoch * config.trainer.epochs
        task.attach(model)
        self.trainer = Trainer(
            config.trainer,
            seed=config.seed_of("dropout"),
            accelerator=accelerator,
            model=model,
            task=task,
            optimizer=build_optimizer(model, config.optimizer),
            make_scheduler=lambda opt: build_scheduler(
                opt, config.scheduler, total_steps, per_epoch
            ),
            train_loader=train_loader,
            validation_loader=self.evaluation_loader(validation) if selects else None,
            run_config=to_dict(config),
            facts=facts,
        )

    def check_length(self, before: int, steps: int) -> None:
        """Refuse to prolong a run of so many epochs, of whose steps some are done."""
        config, per_epoch = self.config, self.trainer.train_loader.steps_per_epoch
        lr, after = config.optimizer.lr, config.trainer.epochs
        check_length(config.scheduler, lr, per_epoch, steps, before, after)

    def open(self, opened: Opened, manifest: dict[str, Any]) -> None:
        """Write the first files into the run directory, and tell the trainer of it.

        Raises ConfigError: the directory cannot be written.
        """
        self.directory, self.manifest = opened.directory, manifest
        trackers: list[GeneralTracker | None] = []

        def begin() -> None:
            start_files(opened, self.config, manifest)
            values = self.trainer.run_config
            try:
                trackers.append(
                    start_tracker(self.config.tracker, self.directory, self.config.name, values)
                )
            except BaseException:
                update_manifest(self.directory.manifest, status="failed", finished=now())
                raise

        try:
            on_first(self.accelerator, begin)
        except OSError as error:
            way = (
                "Choose another place with runs_dir=PATH"
                if opened.checkpoint is None
                else "Let this process write there; or copy the run and resume the copy."
            )
            raise shortage(error) or ConfigError(
                f"cannot write the run directory {self.directory.path}: {error}\n{way}"
            ) from error
        print_start(self.console, self.config, manifest, self.data, self.directory)
        self.log = self.make_log(trackers[0] if trackers else None)
        directory, described = self.directory, manifest["description"]
        self.trainer.write_to(directory.checkpoints, directory.best, self.log, described)
        self.ending = Ending(
            self.config,
            self.accelerator,
            self.task,
            self.trainer,
            self.data.test,
            directory,
            self.log,
            self.console,
            self.started,
        )

    def make_log(self, tracker: GeneralTracker | None) -> RunLog:
        config = self.config
        return RunLog(
            self.directory,
            main=self.main,
            row=self.task.row,
            steps_per_epoch=self.trainer.train_loader.steps_per_epoch,
            epochs=config.trainer.epochs,
            batch_size=config.trainer.batch_size,
            progress=config.trainer.progress,
            validated=config.data.fit == "train",
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
        elif opened.prolongs and opened.parent is not None:
            shorter = RunDirectory(opened.parent.parent.parent)
            on_first(self.accelerator, lambda: self.directory.take_rows(shorter))
            self.trainer.load(opened.parent)
            self.trainer.save()  # from here on the shorter run is needed no more
            self.console.print(f"prolongs {shorter.path}, which stays as it is")
        elif opened.parent is not None:
            begin_from(self.trainer, opened.parent)
            self.console.print(f"begins with {opened.parent}")
        elif self.config.model["weights"] is not None and self.config.trainer.resume is not None:
            self.begin_late()

    def begin_late(self) -> None:
        """Take up model.weights where trainer.resume has found no checkpoint, which has them."""
        description = Description.from_dict(self.manifest["description"])
        module = self.trainer.module
        begun = take_up_weights(module, self.config, description, self.console)
        if self.trainer.ema is not None:
            self.trainer.ema.set(module)
        on_first(self.accelerator, lambda: update_manifest(self.directory.manifest, weights=begun))

    def run(self, opened: Opened, manifest: dict[str, Any]) -> Result:
        """Fit and test, in a directory that is this process's until it returns."""
        try:
            if opened.test is not None:
                path = opened.directory.path
                self.console.print(f"{path} is finished; nothing is left to do.")
                return Result(path, opened.test["epoch"], opened.test["metrics"])
            self.open(opened, manifest)
            return self.proceed(opened)
        finally:
            self.trainer.close()
            if opened.lock is not None:
                opened.lock.release()

    def proceed(self, opened: Opened) -> Result:
        """Fit and test; on any end the manifest says which one it was."""
        status = "failed"
        try:
            self.begin(opened)
            self.fit()
            self.ending.tell_end()
            self.log.tell_waiting()
            result = self.end()
            status = "finished"
            return result
        except Interrupted:
            status = "interrupted"
            step = self.trainer.progress.step
            saved = self.trainer.saved_step == step
            done = f"step {step} is saved" if saved else "its first step was not done"
            self.console.print(f"\nstopped on request; {done}. {self.way_to_resume()}")
            raise
        except Exception as error:
            found = shortage(error)
            if found is None:
                raise
            raise ResourceError(f"{found}\n{self.way_to_resume()}") from error
        finally:
            self.log.close()
            self.ending.write_end(status)

    def fit(self) -> None:
        """Train; what cannot be read stops all processes between two steps, where it is saved."""
        try:
            self.trainer.fit()
        except (DataError, ResourceError) as error:
            self.trainer.save()
            raise type(error)(
                f"{error}\nProgress up to step {self.trainer.progress.step} is saved. "
                f"{self.way_to_resume()}"
            ) from error

    def end(self) -> Result:
        """The test, where there is to be one."""
        if not self.config.trainer.test:
            return self.ending.leave_untested()
        return self.ending.test(self.evaluation_loader(self.data.test), self.way_to_resume)

    def way_to_resume(self) -> str:
        if self.directory.checkpoints.last() is None:
            return "There is no checkpoint yet: start again."
        return f"Resume with the same command and trainer.resume={self.directory.path}"
