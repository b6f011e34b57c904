"""All that decides how training goes on: written to checkpoints, and taken up from them."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from timm.utils import ModelEmaV3
from torch import Tensor, nn

from experiments.config.trainer import TrainerConfig
from experiments.data import TrainLoader
from experiments.errors import CheckpointError, TrainingError, shortage
from experiments.files import atomic_path
from experiments.tasks.rows import Figure
from experiments.training.checkpoint import UNKNOWN, Checkpoint, CheckpointStore
from experiments.training.evaluator import Evaluator
from experiments.training.finite import not_finite
from experiments.training.first import on_first
from experiments.training.tensor_files import load_weights, pack_tensors, read_tensors
from models.description import note_of_weights, read_note


class Log(Protocol):
    """Where rows of numbers go: files, trackers, the terminal (see experiments.runs.tracking)."""

    def row(self, split: str, epoch: int, step: int, values: dict[str, float]) -> None: ...

    def step_done(
        self, epoch: int, step_in_epoch: int, loss: Callable[[], float], lr: float,
        seconds: float, waited: float,
    ) -> None: ...  # fmt: skip

    def say(self, text: str) -> None: ...

    def written(self) -> bytes: ...

    def restore(self, rows: bytes | None, position: int) -> None: ...


@dataclass
class Progress:
    """How far training is."""

    epoch: int = 0
    step_in_epoch: int = 0
    step: int = 0
    best_value: float = -math.inf
    best_epoch: int = 0
    best_note: str = ""  # what best.safetensors says of itself, and the SHA-256 of all of it
    best_sha256: str = ""  # empty: written by a version that did not keep it
    stale: int = 0  # epochs since the best one
    lr: float = 0.0  # of the last step, and of the head where layers differ


class TrainingState:
    """What a checkpoint holds, as attributes; experiments.training.trainer moves it on.

    module is the bare model, ema its moving average or None, totals this process's sums over the
    current epoch (losses, running figure, samples), run_config the config that made all this, facts
    what it is computed with and from, best the content of best.safetensors until it is written,
    description what that file says of the network.
    """

    config: TrainerConfig
    run_config: dict[str, Any]
    facts: dict[str, Any]
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
    best_path: Path
    best: bytes | None
    description: Mapping[str, Any]
    monitor: Figure
    log: Log
    meant: frozenset[str]  # names of tensors that the model itself made infinite: masks
    saved_step: int

    def lost_step(self) -> TrainingError | None:
        """The error of the first step whose loss is not finite, if there is one."""
        raise NotImplementedError

    def save(self) -> None:
        """Write a checkpoint (called on all processes; the first one writes).

        Raises TrainingError: a loss or the state is not finite, the disk is full or not writable;
        earlier checkpoints are untouched.
        """
        failure = self.lost_step() or self.lost_state()
        totals = self.evaluator.agree(failure, self.totals)
        on_first(self.accelerator, lambda: self._write(totals))
        self.saved_step = self.progress.step

    def _write(self, totals: Tensor) -> None:
        scaler = self.accelerator.scaler
        state = {
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "scaler": scaler.state_dict() if scaler is not None else None,
            "progress": asdict(self.progress),
            "totals": totals,
        }
        ema = None if self.ema is None else self.ema.module.state_dict()
        checkpoint = Checkpoint(
            self.module.state_dict(), state, ema, self.run_config, self.facts, self.log.written()
        )
        try:
            self.checkpoints.write(self.progress.step, checkpoint, self.config.keep_last)
            self._write_best()
        except OSError as error:
            reason = shortage(error) or f"{error}\nLet this process write there."
            raise TrainingError(
                f"cannot write checkpoint step {self.progress.step}: {reason}\n"
                f"Earlier files are untouched; {self.last_good()} Then resume."
            ) from error

    def last_good(self) -> str:
        last = self.checkpoints.last()
        return f"the last good checkpoint is {last}." if last else "there is no checkpoint yet."

    # -------------------------------------------------------------------------------------- finite
    def tensors(self) -> list[tuple[str, Any]]:
        """All that decides the next step, by name."""
        named: list[tuple[str, Any]] = list(self.module.state_dict().items())
        if self.ema is not None:
            average = self.ema.module.state_dict().items()
            named += [(f"moving average of {name}", tensor) for name, tensor in average]
        return [*named, ("optimizer state", self.optimizer.state_dict()["state"])]

    def lost_state(self) -> TrainingError | None:
        """The error of weights, buffers, average or optimizer state that are not finite."""
        lost = [name for name in not_finite(self.tensors()) if name not in self.meant]
        if not lost:
            return None
        more = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
        return self.lost(f"{lost[0]}{more} {'are' if more else 'is'} not finite")

    def lost(self, what: str, step: int | None = None, lr: float | None = None) -> TrainingError:
        """The error that ends a run whose numbers are of no use; of the last step unless given."""
        progress = self.progress
        return TrainingError(
            f"{what} at step {progress.step if step is None else step} "
            f"(epoch {progress.epoch + 1}, lr {progress.lr if lr is None else lr:.3g}). "
            f"Training has stopped; {self.last_good()}\nTry a smaller optimizer.lr, "
            "trainer.max_grad_norm=1 or a longer scheduler.warmup."
        )

    # ---------------------------------------------------------------------------- the best weights
    def evaluated_module(self) -> nn.Module:
        return self.module if self.ema is None else self.ema.module

    def keep_best(self, epoch: int, values: dict[str, float]) -> None:
        monitor = self.monitor.name
        if monitor not in values:
            raise TrainingError(
                f"trainer.monitor={monitor!r} is not a validation metric; choose "
                f"one of: {', '.join(sorted(values))}"
            )
        value = values[monitor] if self.monitor.maximise else -values[monitor]
        first = self.progress.best_epoch == 0  # whatever its value: a run always has best weights
        if not (first or value > self.progress.best_value):  # written so that NaN is never better
            self.progress.stale += 1
            return
        self.progress.stale = 0
        self.progress.best_value = -math.inf if math.isnan(value) else value
        self.keep(epoch, f"validation {monitor} {values[monitor]!r}")

    def keep(self, epoch: int, why: str) -> None:
        """Make the weights of this epoch the best ones."""
        self.progress.best_epoch = epoch
        if self.accelerator.is_main_process:  # save() writes it, after the checkpoint
            self.progress.best_note = note_of_weights(f"epoch {epoch}: {why}", self.description)
            weights = self.evaluated_module().state_dict()
            self.best = pack_tensors(weights, self.progress.best_note)
            self.progress.best_sha256 = hashlib.sha256(self.best).hexdigest()

    def _write_best(self) -> None:
        """Write best.safetensors, after the checkpoint that tells its hash and can replace it."""
        if self.best is not None:
            with atomic_path(self.best_path) as file:
                file.write_bytes(self.best)
            self.best = None

    def load_best(self) -> None:
        """Give the evaluated module the best weights (called on all processes).

        Raises CheckpointError: best.safetensors is not what this run wrote.
        """
        (sha256,) = broadcast_object_list([self.progress.best_sha256])
        try:
            tensors = read_tensors(self.best_path, sha256)
        except CheckpointError as error:
            raise CheckpointError(
                f"{error}; it should hold the weights of epoch {self.progress.best_epoch}, "
                f"{read_note(self.progress.best_note)[0]}. It was not tested. Resume from an "
                "earlier checkpoint "
                f"in {self.checkpoints.root}, or start again."
            ) from error
        load_weights(self.evaluated_module(), tensors, self.best_path)

    def _restore_best(self, taken: Checkpoint) -> None:
        """Write best.safetensors anew from a checkpoint if it is not what the one taken up says.

        A kill between the two files, a step back to an earlier checkpoint and damage look alike.
        Where no checkpoint has these weights, the best of the coming epochs counts.
        """
        progress = self.progress
        if not progress.best_sha256:
            return
        try:
            read_tensors(self.best_path, progress.best_sha256)
            return
        except CheckpointError as error:
            reason = error
        epoch_end = progress.best_epoch * self.train_loader.steps_per_epoch
        kept = self.checkpoints.path(epoch_end)
        if progress.step != epoch_end and kept.exists():
            with suppress(CheckpointError):
                taken = self.checkpoints.load(kept)
        content = pack_tensors(taken.model if taken.ema is None else taken.ema, progress.best_note)
        if hashlib.sha256(content).hexdigest() == progress.best_sha256:
            self.best = content
            self._write_best()
            self.log.say(f"{self.best_path.name} is written anew from a checkpoint: {reason}")
        elif progress.epoch >= self.config.epochs:
            raise CheckpointError(
                f"{reason}, and no checkpoint has the weights of epoch {progress.best_epoch}. "
                f"Resume from an earlier checkpoint in {self.checkpoints.root}, or start again."
            )
        else:
            progress.best_value, progress.best_epoch, progress.stale = -math.inf, 0, 0
            progress.best_note = progress.best_sha256 = ""
            self.log.say(f"{reason}; the best of the epochs from here on counts")

    def restore_weights(self, checkpoint: Checkpoint, path: Path) -> None:
        load_weights(self.module, checkpoint.model, path)
        if self.ema is not None:
            ema = checkpoint.model if checkpoint.ema is None else checkpoint.ema
            load_weights(self.ema.module, ema, path)

    def restore_scaler(self, checkpoint: Checkpoint) -> None:
        state = checkpoint.state["scaler"]
        if self.accelerator.scaler is not None and state is not None:
            self.accelerator.scaler.load_state_dict(state)

    def load(self, path: Path) -> None:
        """Continue from a checkpoint, of this run or of one that it prolongs (called on all
        processes)."""
        own = path.parent == self.checkpoints.root
        store = self.checkpoints if own else CheckpointStore(path.parent, UNKNOWN)
        checkpoint = store.load(path)
        self.restore_weights(checkpoint, path)
        state = checkpoint.state
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])
        self.restore_scaler(checkpoint)
        self.progress = Progress(**state["progress"])
        totals = state["totals"]
        same = len(totals) == self.accelerator.num_processes
        mine = totals[self.accelerator.process_index] if same else totals.mean(0)
        self.totals.copy_(mine)
        self.accelerator.wait_for_everyone()
        self.progress = on_first(self.accelerator, lambda: self._restore_files(checkpoint))
        self.saved_step = self.progress.step

    def _restore_files(self, taken: Checkpoint) -> Progress:
        """Bring the other files of the run to what they were at this checkpoint."""
        self._restore_best(taken)
        self.checkpoints.set_aside_after(self.progress.step)
        self.log.restore(taken.metrics, taken.state.get("log_position", 0))
        return self.progress
