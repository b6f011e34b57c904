"""The training loop: fit, train_epoch, train_step, evaluate, save, load.

It knows torch and Accelerate, and nothing of config files, searches or trackers. All randomness is
a function of (seed, step, process), all order a function of (seed, epoch): a run that was killed
and taken up again from a checkpoint computes bit for bit what it would have computed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from timm.utils import ModelEmaV3
from torch import Tensor, nn

from conv_kan.ops.cpp.compiler import while_compiling
from experiments.config.trainer import TrainerConfig
from experiments.data import EvaluationLoader, TrainLoader
from experiments.data.recipe import Batch
from experiments.errors import TrainingError, UserError
from experiments.tasks.base import Metrics, Task
from experiments.training.checkpoint import CheckpointStore
from experiments.training.evaluator import Evaluator
from experiments.training.finite import not_finite
from experiments.training.first import on_first
from experiments.training.interrupt import Interrupted, StopSignal, leave_workers_to_their_loader
from experiments.training.state import Log, Progress, TrainingState
from models.parts import train_unfrozen


class Trainer(TrainingState):
    """Trains one model. Without a validation loader nothing is selected: the last weights count.

    A step is one optimizer step: `accumulation` micro-batches on each process, their gradients
    averaged, so losses, schedules and results do not depend on how a batch is divided.
    """

    def __init__(
        self, config: TrainerConfig, *, seed: int, accelerator: Accelerator, model: nn.Module,
        task: Task, optimizer: torch.optim.Optimizer,
        make_scheduler: Callable[[torch.optim.Optimizer], Any], train_loader: TrainLoader,
        validation_loader: EvaluationLoader | None, run_config: dict[str, Any],
        facts: dict[str, Any] | None = None,
    ) -> None:  # fmt: skip
        self.config, self.seed, self.accelerator = config, seed, accelerator
        self.task, self.run_config, self.facts = task, run_config, facts or {}
        self.train_loader, self.validation_loader = train_loader, validation_loader
        self.monitor = task.row.figure(config.monitor or task.row.monitors[0].name)
        self.evaluator = Evaluator(accelerator, task, config.channels_last)
        layout = self.evaluator.memory_format
        self.module = model.to(accelerator.device).to(memory_format=layout)
        # Before prepare(): it wraps forward, and a copy of the wrapper would call the original.
        decay = config.ema_decay
        # In float32 always: timm rounds to bfloat16 by a generator that no checkpoint holds.
        self.ema = None if decay is None else ModelEmaV3(self.module, decay, dtype=torch.float32)
        self.scheduler = make_scheduler(optimizer)
        self.needs_closure = isinstance(optimizer, torch.optim.LBFGS)
        self.model, prepared = accelerator.prepare(self.module, optimizer)
        # Accelerate's wrapper searches the installed packages at every step, which costs a small
        # model some percent; without a loss scaler it adds nothing.
        self.optimizer: Any = optimizer if accelerator.scaler is None else prepared
        self.progress = Progress()
        # sums of losses, of the running figure, of samples; on the device: no step waits for it
        self.totals = torch.zeros(3, dtype=torch.float64, device=accelerator.device)
        self.best, self.saved_step = None, -1
        self.meant = frozenset(not_finite(self.tensors()))
        self.unchecked: list[tuple[int, float, Tensor]] = []
        self.waited = 0.0  # seconds for the micro-batches of the last step
        self.stop = StopSignal()

    def write_to(
        self,
        checkpoints: CheckpointStore,
        best_path: Path,
        log: Log,
        description: Mapping[str, Any] | None = None,
    ) -> None:
        """Say where to write, before fit or load: a trainer can be built before its run exists.

        description: what the best weights say of their network (models.description).
        """
        self.checkpoints, self.best_path, self.log = checkpoints, best_path, log
        self.description = description or {}

    def close(self) -> None:
        """End the worker processes and remove the hooks."""
        self.train_loader.close()
        if self.validation_loader is not None:
            self.validation_loader.close()
        self.task.close()

    # --------------------------------------------------------------------------------------- loop
    def fit(self) -> None:
        """Train to the last epoch, or until patience ends; a checkpoint ends every epoch.

        Raises Interrupted after SIGTERM, SIGHUP or Ctrl-C, when the checkpoint is written;
        TrainingError when a loss or the state is not finite; what the loaders raise.
        """
        first = self.progress.step

        def stop_at_once() -> None:
            """Compilers take minutes: they are not waited for where no step would be lost."""
            if self.stop.signal is not None and self.progress.step in (first, self.saved_step):
                raise Interrupted(self.stop.signal)

        with self.stop, while_compiling(stop_at_once):
            while self.ended() is None:
                self.train_epoch()
                self.finish_epoch()
                if self.stop_requested():
                    raise Interrupted(self.stop.signal)

    def ended(self) -> str | None:
        """Why there is no further epoch: all are done, or patience is; None if there is one."""
        if self.progress.epoch >= self.config.epochs:
            return "epochs"
        patience = self.config.patience
        return "patience" if patience is not None and self.progress.stale >= patience else None

    def train_epoch(self) -> None:
        progress = self.progress
        train_unfrozen(self.module)
        started = time.perf_counter()
        steps = iter(self.train_loader.epoch(progress.epoch, progress.step_in_epoch))
        while (micro_batches := self.next_step(steps)) is not None:
            progress.lr = max(group["lr"] for group in self.optimizer.param_groups)
            loss = self.train_step(micro_batches)
            progress.step += 1
            progress.step_in_epoch += 1
            self.unchecked.append((progress.step, progress.lr, loss))
            now = time.perf_counter()
            self.log.step_done(
                progress.epoch, progress.step_in_epoch, self.mean_loss, progress.lr,
                now - started, self.waited,
            )  # fmt: skip
            started = now

    def next_step(self, steps: Iterator[list[Batch]]) -> list[Batch] | None:
        """Between two steps: the micro-batches of the next one, or None at the epoch's end.

        The one place within an epoch where the processes tell each other of a sample that cannot be
        read, a loss that is not finite or a signal; and where checkpoints are written.
        """
        progress, micro_batches = self.progress, None
        failure: UserError | None = None
        every = self.config.checkpoint_steps
        if progress.step_in_epoch == self.train_loader.steps_per_epoch:
            return next(steps, None)
        if self.accelerator.device.type == "cpu" or progress.step % 10 == 0:
            failure = self.lost_step()  # on an accelerator each look waits for the device
        if progress.step_in_epoch and every is not None and progress.step % every == 0:
            self.save_once()
        asked = time.perf_counter()
        try:
            micro_batches = next(steps, None)
        except UserError as error:
            failure = failure or error
        self.waited = time.perf_counter() - asked
        leave_workers_to_their_loader()
        if self.stop_requested(failure):
            self.save_once()
            raise Interrupted(self.stop.signal)
        return micro_batches

    def save_once(self) -> None:
        """Save, unless this step is saved already."""
        if self.saved_step != self.progress.step:
            self.save()

    def train_step(self, micro_batches: Sequence[Batch]) -> Tensor:
        """One optimizer step; returns this process's mean loss over the micro-batches."""
        first: list[Tensor] = []

        def closure() -> Tensor:
            loss = self.compute_gradients(micro_batches, record=not first)
            first.append(loss)
            return loss

        def agreed() -> Tensor:
            """The loss over all processes, by which a line search decides alike on each."""
            mean: Tensor = self.accelerator.reduce(closure(), reduction="mean")
            return mean

        if self.needs_closure:  # LBFGS evaluates the same batches as often as its search wants
            self.optimizer.step(agreed)
        else:
            closure()
            self.optimizer.step()
        if not self.accelerator.optimizer_step_was_skipped:  # a loss scaler looking for its scale
            self.scheduler.step()
        if self.ema is not None:
            self.ema.update(self.module, self.progress.step)
        return first[0]

    def compute_gradients(self, micro_batches: Sequence[Batch], record: bool) -> Tensor:
        """Set .grad to the mean gradient over micro-batches and processes; clip it."""
        self.seed_step()
        self.optimizer.zero_grad()
        total = torch.zeros((), device=self.accelerator.device)
        for i, batch in enumerate(micro_batches):
            inputs, targets = self.evaluator.to_device(batch)
            last = i + 1 == len(micro_batches)
            with nullcontext() if last else self.accelerator.no_sync(self.model):
                with self.accelerator.autocast():
                    loss, outputs, _ = self.task.training_loss(self.model, inputs, targets)
                self.accelerator.backward(loss / len(micro_batches))
            total = total + loss.detach() / len(micro_batches)
            if record:
                self.record(loss.detach(), outputs, targets, len(inputs))
        if self.config.max_grad_norm is not None:
            self.accelerator.clip_grad_norm_(self.module.parameters(), self.config.max_grad_norm)
        return total

    def seed_step(self) -> None:
        """Make dropout and other noise of this step a function of (seed, step, process)."""
        keys = (self.seed, self.progress.step, self.accelerator.process_index)
        seed = int(np.random.SeedSequence(keys).generate_state(1, np.uint64)[0]) >> 1
        # torch.manual_seed notes for accelerators that are absent where it was called from, which
        # takes a small model's step some percent.
        on_cpu = self.accelerator.device.type == "cpu"
        torch.default_generator.manual_seed(seed) if on_cpu else torch.manual_seed(seed)

    def record(self, loss: Tensor, outputs: Any, targets: Any, samples: int) -> None:
        """Add a micro-batch to the sums of the epoch."""
        loss = loss.double()
        has_running = self.task.row.running is not None
        running = self.task.running(outputs, targets) if has_running else torch.zeros_like(loss)
        count = torch.full_like(loss, samples)
        self.totals += torch.stack([loss * samples, running.double(), count])

    def mean_loss(self) -> float:
        return float(self.totals[0] / self.totals[2]) if self.totals[2] > 0 else math.nan

    def lost_step(self) -> TrainingError | None:
        """The error of the first step whose loss is not finite, if there is one."""
        for step, lr, loss in self.unchecked:
            if not bool(torch.isfinite(loss)):
                return self.lost(f"the loss is {float(loss)}", step, lr)
        self.unchecked.clear()
        return None

    def stop_requested(self, failure: UserError | None = None) -> bool:
        """Whether any process has received a signal; all get the same answer, or the same error."""
        if self.accelerator.num_processes == 1 and failure is None:
            return self.stop.signal is not None
        signal = torch.tensor([float(self.stop.signal or 0)], dtype=torch.float64)
        number = int(self.evaluator.agree(failure, signal).max())
        if number:
            self.stop.signal = number
        return number != 0

    # --------------------------------------------------------------------------------- end of epoch
    def finish_epoch(self) -> None:
        """Write the training row, validate, keep the best weights, save."""
        progress, running = self.progress, self.task.row.running
        sums = self.evaluator.agree(self.lost_step(), self.totals).sum(0)
        train = {"loss": float(sums[0] / sums[2])}
        train |= {} if running is None else {running: float(sums[1] / sums[2])}
        train |= {"lr": progress.lr}
        epoch = progress.epoch + 1
        # Both rows after both are known: what stops in between is done again after a resume.
        loader = self.validation_loader
        values = None if loader is None else self.evaluate(loader)[0]

        def write_rows() -> None:
            self.log.row("train", epoch, progress.step, train)
            if values is not None:
                self.log.row("validation", epoch, progress.step, values)

        on_first(self.accelerator, write_rows)
        if values is None:
            self.keep(epoch, "without validation")
        elif math.isfinite(values["loss"]):
            self.keep_best(epoch, values)
        else:
            raise self.lost_state() or self.lost(f"the validation loss is {values['loss']}")
        progress.epoch, progress.step_in_epoch = epoch, 0
        self.totals.zero_()
        self.save()

    def evaluate(self, loader: Iterable[Batch]) -> tuple[dict[str, float], Metrics]:
        """Loss and figures over every sample once, of the moving average if there is one."""
        return self.evaluator.evaluate(self.evaluated_module(), loader)
