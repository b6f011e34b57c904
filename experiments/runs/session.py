"""One run from an open run directory to its result: fit, test, files, and what each end says."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.tracking import GeneralTracker
from rich.console import Console
from torch import Tensor, nn

from conv_kan.ops.backend import backends_that_ran
from experiments.config.parse import to_dict
from experiments.config.schema import Config
from experiments.data import Datasets, EvaluationLoader
from experiments.data.admit import admit
from experiments.data.containers import Part
from experiments.data.scan import left_out
from experiments.errors import (
    ConfigError,
    DataError,
    ResourceError,
    TrainingError,
    shortage,
)
from experiments.files import write_json
from experiments.runs.beginning import begin_with_weights, freeze_parts
from experiments.runs.console import print_processes, print_start, print_summary
from experiments.runs.directory import RunDirectory
from experiments.runs.facts import run_facts
from experiments.runs.manifest import now, peak_memory_bytes, update_manifest
from experiments.runs.model import (
    check_forward,
    make_model,
    matched_options,
)
from experiments.runs.opening import Opened, open_run_directory
from experiments.runs.pictures import draw_pictures
from experiments.runs.setup import (
    describe,
    describe_run,
    make_accelerator,
    script_of,
    start_files,
    training_loader,
)
from experiments.runs.tracking import RunLog, start_tracker
from experiments.tasks.base import Task, create_task
from experiments.training.checkpoint import sha256_of
from experiments.training.first import on_first
from experiments.training.interrupt import Interrupted
from experiments.training.length import check_length
from experiments.training.optim import build_optimizer, build_scheduler
from experiments.training.trainer import Trainer
from models.description import Description
from models.registry import is_kan


@dataclass
class Result:
    """What a run has produced. `test` is None where the run was not to be tested."""

    run_dir: Path
    best_epoch: int
    test: dict[str, float] | None


def run_session(config: Config, get_data: Callable[[Config], tuple[Any, Any, Any]]) -> Result:
    """The body of experiments.app.run, which see.

    All that can be refused is refused before the run has a directory.
    """
    started = time.time()
    accelerator = make_accelerator(config)
    # What is printed are names of all kinds: in none of them a bracket or a colon is markup.
    console = Console(
        quiet=not accelerator.is_main_process, soft_wrap=True, markup=False, emoji=False
    )
    print_processes(console, accelerator, config)
    torch.manual_seed(config.seed)
    data = admit(get_data(config), config)
    task = create_task(config, data)
    task.metrics(accelerator.device)  # refuses what it cannot judge
    options, matched = matched_options(config, task.num_outputs, task.input_shape)
    torch.manual_seed(config.seed_of("init"))  # whatever get_data has drawn
    model = make_model(config, task.num_outputs, task.input_shape[0], options)
    here = describe(config.model["name"], options, task)
    begun = None
    if config.model["weights"] is not None and config.trainer.resume is None:
        begun = take_up_weights(model, config, here, console)
    share = config.trainer.accumulation * accelerator.num_processes
    micro_batch = config.trainer.batch_size // share
    check_forward(model, config, task.input_shape, micro_batch, task.check_model)
    manifest = describe_run(config, accelerator, model, task)
    frozen = freeze_parts(model, config)
    manifest |= {
        "weights": begun,
        "frozen": {
            "what": config.model["freeze"],
            "parameters": frozen.numbers,
            "how": frozen.words,
        },
        "script": script_of(get_data),
        "description": here.to_dict(),
        "is_kan": is_kan(config.model["name"], options),
        "match": None if matched is None else asdict(matched),
        "left_out": left_out(data),
    }
    facts = run_facts(accelerator, data, manifest["versions"])
    session = Session(config, accelerator, data, task, model, facts, console, started)
    try:
        opened = open_run_directory(config, facts, accelerator, console, session.check_length)
    except BaseException:
        session.trainer.close()
        raise
    return session.run(opened, manifest | {"facts": facts})


def take_up_weights(
    model: nn.Module, config: Config, here: Description, console: Console
) -> dict[str, Any] | None:
    """Give the model the weights of model.weights, unless a checkpoint is to give all it has."""
    if config.trainer.start_from is not None:
        return None
    lines, record = begin_with_weights(model, config, here)
    for line in lines:
        console.print(line)
    return record


class Session:
    """The part of a run after its config and data: what trains, then where it writes, then both."""

    directory: RunDirectory
    manifest: dict[str, Any]
    log: RunLog

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

    def predict(self, indices: Sequence[int]) -> list[tuple[Tensor, Any, Any]]:
        """Of each of some test items (inputs, outputs, targets), by this process alone."""
        items = Part(self.data.test, np.asarray(indices, dtype=np.int64))
        recipe = self.task.recipe(training=False)
        with closing(EvaluationLoader(items, recipe, batch_size=1, rank=0, world_size=1)) as loader:
            module = self.trainer.evaluated_module()
            return list(self.trainer.evaluator.predict(module, loader))

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
            self.trainer.begin_from(opened.parent)
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
            self.tell_end()
            self.log.tell_waiting()
            result = self.test() if self.config.trainer.test else self.leave_untested()
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
            self.write_end(status)

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

    def way_to_resume(self) -> str:
        if self.directory.checkpoints.last() is None:
            return "There is no checkpoint yet: start again."
        return f"Resume with the same command and trainer.resume={self.directory.path}"

    def leave_untested(self) -> Result:
        """The end of a run with trainer.test=false."""
        directory, epoch = self.directory, self.trainer.progress.best_epoch
        on_first(
            self.accelerator, lambda: draw_pictures(self.task, directory, {}, self.console.print)
        )
        self.console.print(f"not tested (trainer.test=false); weights of epoch {epoch}: "
                           f"{directory.best}")  # fmt: skip
        return Result(directory.path, epoch, None)

    def test(self) -> Result:
        """Load the best weights, read the test split once, write results and pictures.

        Raises TrainingError: the loss is not finite; what could be computed is written.
        """
        trainer, directory, progress = self.trainer, self.directory, self.trainer.progress
        trainer.load_best()
        with closing(self.evaluation_loader(self.data.test)) as loader:
            try:
                values, metrics = trainer.evaluate(loader)
            except (DataError, ResourceError) as error:
                way = f"Training is done. {self.way_to_resume()}"
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

    def write_end(self, status: str) -> None:
        """Complete the manifest; a full disk must not hide the error that led here."""
        if not self.main:
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
