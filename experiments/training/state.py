"""All that decides how training goes on: written to checkpoints, and taken up from them."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from accelerate import Accelerator
from timm.utils import ModelEmaV3
from torch import Tensor, nn

from experiments.config.trainer import TrainerConfig
from experiments.data import TrainLoader
from experiments.errors import CheckpointError, TrainingError
from experiments.training.checkpoint import Checkpoint, CheckpointStore, load_weights
from experiments.training.evaluator import Evaluator


class Log(Protocol):
    """Where rows of numbers go: files, trackers, the terminal (see experiments.runs.tracking)."""

    def row(self, split: str, epoch: int, step: int, values: dict[str, float]) -> None: ...

    def step_done(
        self, epoch: int, step_in_epoch: int, loss: Callable[[], float], lr: float, seconds: float
    ) -> None: ...

    def position(self) -> int: ...

    def rewind(self, position: int) -> None: ...


@dataclass
class Progress:
    """How far training is."""

    epoch: int = 0
    step_in_epoch: int = 0
    step: int = 0
    best_value: float = -math.inf
    best_epoch: int = 0


class TrainingState:
    """What a checkpoint holds, as attributes; experiments.training.trainer moves it on.

    module is the bare model, ema its moving average or None, totals this process's sums over the
    current epoch (losses, running figure, samples), run_config the config that made all this.
    """

    config: TrainerConfig
    run_config: dict[str, Any]
    accelerator: Accelerator
    evaluator: Evaluator
    module: nn.Module
    ema: ModelEmaV3 | None
    optimizer: Any
    scheduler: Any
    train_loader: TrainLoader
    progress: Progress
    totals: Tensor
    checkpoints: CheckpointStore
    log: Log

    def check_losses(self) -> None:
        """Raise TrainingError for a loss that is not finite: such a state is not written."""
        raise NotImplementedError

    def save(self) -> None:
        """Write a checkpoint (called on all processes; the first one writes).

        Raises TrainingError: the disk is full or not writable; earlier checkpoints are untouched.
        """
        self.check_losses()
        totals = self.evaluator.gather(self.totals)
        if self.accelerator.is_main_process:
            scaler = self.accelerator.scaler
            state = {
                "optimizer": self.optimizer.state_dict(),
                "scheduler": self.scheduler.state_dict(),
                "scaler": scaler.state_dict() if scaler is not None else None,
                "progress": asdict(self.progress),
                "totals": totals,
                "log_position": self.log.position(),
            }
            ema = None if self.ema is None else self.ema.module.state_dict()
            checkpoint = Checkpoint(self.module.state_dict(), state, ema, self.run_config)
            try:
                self.checkpoints.write(self.progress.step, checkpoint, self.config.keep_last)
            except OSError as error:
                raise TrainingError(
                    f"cannot write checkpoint step {self.progress.step}: {error}\n"
                    f"Earlier files are untouched; the last good checkpoint is "
                    f"{self.checkpoints.last()}. Free space, then resume."
                ) from error
        self.accelerator.wait_for_everyone()

    def begin_from(self, path: Path) -> None:
        """Begin with the state of another run's checkpoint (called on all processes).

        Taken over: weights, moving average, what the optimizer and the loss scaler have gathered,
        and the number of epochs done. Learning rates, decay and schedule are this run's own, as if
        it had come that far by itself; the best weights are still to be found.

        Raises CheckpointError: another model or optimizer wrote it, it stands within an epoch, or
        this run is to have no more epochs than that.
        """
        checkpoint = CheckpointStore(path.parent).load(path)
        epoch = self._epochs_done(checkpoint, path)
        self._load_weights(checkpoint, path)
        own = self.optimizer.state_dict()
        self.optimizer.load_state_dict({**own, "state": checkpoint.state["optimizer"]["state"]})
        self._load_scaler(checkpoint)
        self.progress = Progress(epoch=epoch, step=epoch * self.train_loader.steps_per_epoch)
        with warnings.catch_warnings():  # torch warns of steps of a schedule before an optimizer's
            warnings.simplefilter("ignore", UserWarning)
            for _ in range(self.progress.step):
                self.scheduler.step()
        self.accelerator.wait_for_everyone()

    def _epochs_done(self, checkpoint: Checkpoint, path: Path) -> int:
        given, mine = checkpoint.config["optimizer"]["name"], self.run_config["optimizer"]["name"]
        progress = Progress(**checkpoint.state["progress"])
        what = f"trainer.start_from={path}"
        if given != mine:
            raise CheckpointError(f"{what} was trained with {given}; type optimizer={given}")
        if progress.step_in_epoch:
            raise CheckpointError(
                f"{what} stands within epoch {progress.epoch + 1}, whose order of samples is "
                "another run's; give a checkpoint of the end of an epoch"
            )
        if progress.epoch >= self.config.epochs:
            raise CheckpointError(
                f"{what} has {progress.epoch} epochs done, and this run is to have "
                f"{self.config.epochs}; type trainer.epochs={progress.epoch + 1} or more"
            )
        return progress.epoch

    def _load_weights(self, checkpoint: Checkpoint, path: Path) -> None:
        load_weights(self.module, checkpoint.model, path)
        if self.ema is not None:
            ema = checkpoint.model if checkpoint.ema is None else checkpoint.ema
            load_weights(self.ema.module, ema, path)

    def _load_scaler(self, checkpoint: Checkpoint) -> None:
        state = checkpoint.state["scaler"]
        if self.accelerator.scaler is not None and state is not None:
            self.accelerator.scaler.load_state_dict(state)

    def load(self, path: Path) -> None:
        """Continue from a checkpoint (called on all processes)."""
        checkpoint = self.checkpoints.load(path)
        self._load_weights(checkpoint, path)
        state = checkpoint.state
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])
        self._load_scaler(checkpoint)
        self.progress = Progress(**state["progress"])
        totals = state["totals"]
        same = len(totals) == self.accelerator.num_processes
        mine = totals[self.accelerator.process_index] if same else totals.mean(0)
        self.totals.copy_(mine)
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            self.checkpoints.set_aside_after(self.progress.step)
            self.log.rewind(state["log_position"])
        self.accelerator.wait_for_everyone()
