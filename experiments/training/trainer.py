"""The training loop: fit, train_epoch, train_step, evaluate, save, load.

It knows torch and Accelerate, and nothing of config files, searches or trackers. All randomness is
a function of (seed, step, process), all order a function of (seed, epoch): a run that was killed
and taken up again from a checkpoint computes bit for bit what it would have computed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from timm.utils import ModelEmaV3
from torch import Tensor, nn

from experiments.config.schema import TrainerConfig
from experiments.data import EvaluationLoader, TrainLoader
from experiments.errors import TrainingError
from experiments.tasks.classification import ClassificationTask
from experiments.tasks.metrics import ClassificationMetrics
from experiments.training.checkpoint import Checkpoint, CheckpointStore, load_weights, save_tensors
from experiments.training.interrupt import Interrupted, StopSignal

MicroBatches = Sequence[tuple[Tensor, Tensor]]


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
    """How far training is. `totals` are this process's sums over the current epoch."""

    epoch: int = 0
    step_in_epoch: int = 0
    step: int = 0
    best_value: float = -math.inf
    best_epoch: int = 0


class Trainer:
    """Trains one model; `state` of the run is everything that save() writes.

    A step is one optimizer step: `accumulation` micro-batches on each process, their gradients
    averaged, so losses, schedules and results do not depend on how a batch is divided.
    """

    def __init__(
        self, config: TrainerConfig, *, seed: int, accelerator: Accelerator, model: nn.Module,
        task: ClassificationTask, optimizer: torch.optim.Optimizer,
        make_scheduler: Callable[[torch.optim.Optimizer], Any], train_loader: TrainLoader,
        validation_loader: EvaluationLoader, make_metrics: Callable[[], ClassificationMetrics],
        checkpoints: CheckpointStore, best_path: Path, log: Log, run_config: dict[str, Any],
    ) -> None:  # fmt: skip
        self.config, self.seed, self.accelerator = config, seed, accelerator
        self.task, self.log, self.run_config = task, log, run_config
        self.train_loader, self.validation_loader = train_loader, validation_loader
        self.make_metrics = make_metrics
        self.checkpoints, self.best_path = checkpoints, best_path
        self.memory_format = torch.channels_last if config.channels_last else torch.preserve_format
        self.module = model.to(accelerator.device).to(memory_format=self.memory_format)
        # Before prepare(): it wraps forward, and a copy of the wrapper would call the original.
        decay = config.ema_decay
        self.ema = ModelEmaV3(self.module, decay=decay) if decay is not None else None
        self.scheduler = make_scheduler(optimizer)
        self.needs_closure = isinstance(optimizer, torch.optim.LBFGS)
        self.model, prepared = accelerator.prepare(self.module, optimizer)
        # Accelerate's wrapper searches the installed packages at every step, which costs a small
        # model some percent; without a loss scaler it adds nothing.
        self.optimizer: Any = optimizer if accelerator.scaler is None else prepared
        self.progress = Progress()
        # sums of losses, of hits and of images; on the device, so that no step waits for it
        self.totals = torch.zeros(3, dtype=torch.float64, device=accelerator.device)
        self.lr = 0.0  # of the last step
        self.unchecked: list[tuple[int, float, Tensor]] = []
        self.stop = StopSignal()

    def close(self) -> None:
        """End the worker processes and remove the hooks."""
        self.train_loader.close()
        self.validation_loader.close()
        self.task.close()

    # --------------------------------------------------------------------------------------- loop
    def fit(self) -> None:
        """Train to the last epoch; a checkpoint ends every epoch.

        Raises Interrupted after SIGTERM or Ctrl-C, when the checkpoint is written; TrainingError
        when a loss is not finite.
        """
        with self.stop:
            while self.progress.epoch < self.config.epochs:
                self.train_epoch()
                self.finish_epoch()
                if self.stop_requested():
                    raise Interrupted(self.stop.signal)

    def train_epoch(self) -> None:
        progress = self.progress
        self.module.train()
        started = time.perf_counter()
        for micro_batches in self.train_loader.epoch(progress.epoch, progress.step_in_epoch):
            self.lr = self.optimizer.param_groups[0]["lr"]
            loss = self.train_step(micro_batches)
            progress.step += 1
            progress.step_in_epoch += 1
            self.unchecked.append((progress.step, self.lr, loss))
            if self.accelerator.device.type == "cpu" or progress.step % 10 == 0:
                self.check_losses()  # on an accelerator each look waits for the device
            now = time.perf_counter()
            self.log.step_done(
                progress.epoch, progress.step_in_epoch, self.mean_loss, self.lr, now - started
            )
            started = now
            self.after_step()

    def after_step(self) -> None:
        """Between two steps, but not after an epoch's last, save if it is time or a signal came."""
        progress = self.progress
        if progress.step_in_epoch == self.train_loader.steps_per_epoch:
            return
        every = self.config.checkpoint_steps
        if self.stop_requested():
            self.save()
            raise Interrupted(self.stop.signal)
        if every is not None and progress.step % every == 0:
            self.save()

    def train_step(self, micro_batches: MicroBatches) -> Tensor:
        """One optimizer step; returns this process's mean loss over the micro-batches."""
        first: list[Tensor] = []

        def closure() -> Tensor:
            loss = self.compute_gradients(micro_batches, record=not first)
            first.append(loss)
            return loss

        if self.needs_closure:  # LBFGS evaluates the same batches as often as its search wants
            self.optimizer.step(closure)
        else:
            closure()
            self.optimizer.step()
        if not self.accelerator.optimizer_step_was_skipped:  # a loss scaler looking for its scale
            self.scheduler.step()
        if self.ema is not None:
            self.ema.update(self.module, self.progress.step)
        return first[0]

    def compute_gradients(self, micro_batches: MicroBatches, record: bool) -> Tensor:
        """Set .grad to the mean gradient over micro-batches and processes; clip it."""
        self.seed_step()
        self.optimizer.zero_grad()
        total = torch.zeros((), device=self.accelerator.device)
        for i, (images, targets) in enumerate(micro_batches):
            images, targets = self.to_device(images), targets.to(self.accelerator.device)
            last = i + 1 == len(micro_batches)
            with nullcontext() if last else self.accelerator.no_sync(self.model):
                with self.accelerator.autocast():
                    loss, logits, _ = self.task.training_loss(self.model, images, targets)
                self.accelerator.backward(loss / len(micro_batches))
            total = total + loss.detach() / len(micro_batches)
            if record:
                self.record(loss.detach(), logits.detach(), targets)
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

    def record(self, loss: Tensor, logits: Tensor, targets: Tensor) -> None:
        labels = targets.argmax(1) if targets.ndim == 2 else targets
        hits = (logits.argmax(1) == labels).sum()
        images = torch.full_like(hits, len(labels), dtype=torch.float64)
        self.totals += torch.stack([loss.double() * len(labels), hits.double(), images])

    def mean_loss(self) -> float:
        return float(self.totals[0] / self.totals[2]) if self.totals[2] > 0 else math.nan

    def check_losses(self) -> None:
        """Raise TrainingError for the first step whose loss is not finite."""
        for step, lr, loss in self.unchecked:
            if not bool(torch.isfinite(loss)):
                last = self.checkpoints.last()
                good = f"The last good checkpoint is {last}." if last else "No checkpoint yet."
                raise TrainingError(
                    f"the loss is {float(loss)} at step {step} (epoch {self.progress.epoch + 1}, "
                    f"lr {lr:.3g}). Training has stopped. {good}\nTry a smaller optimizer.lr, "
                    "trainer.max_grad_norm=1 or a longer scheduler.warmup."
                )
        self.unchecked.clear()

    def to_device(self, images: Tensor) -> Tensor:
        return images.to(
            self.accelerator.device, non_blocking=True, memory_format=self.memory_format
        )

    def stop_requested(self) -> bool:
        """Whether any process has received a signal; all processes get the same answer."""
        if self.accelerator.num_processes == 1:
            return self.stop.signal is not None
        flag = torch.tensor([self.stop.signal or 0], device=self.accelerator.device)
        signal = int(self.accelerator.gather(flag).max())
        if signal:
            self.stop.signal = signal
        return signal != 0

    # --------------------------------------------------------------------------------- end of epoch
    def finish_epoch(self) -> None:
        """Write the training row, validate, keep the best weights, save."""
        progress = self.progress
        self.check_losses()
        sums = self.gather(self.totals).sum(0)
        train = {
            "loss": float(sums[0] / sums[2]),
            "accuracy": float(sums[1] / sums[2]),
            "lr": self.lr,
        }
        epoch = progress.epoch + 1
        self.log.row("train", epoch, progress.step, train)
        values, _ = self.evaluate(self.validation_loader)
        self.log.row("validation", epoch, progress.step, values)
        self.keep_best(epoch, values)
        progress.epoch, progress.step_in_epoch = epoch, 0
        self.totals.zero_()
        self.save()

    def keep_best(self, epoch: int, values: dict[str, float]) -> None:
        monitor = self.config.monitor
        if monitor not in values:
            raise TrainingError(
                f"trainer.monitor={monitor!r} is not a validation metric; choose "
                f"one of: {', '.join(sorted(values))}"
            )
        value = -values[monitor] if monitor == "loss" else values[monitor]
        first = self.progress.best_epoch == 0  # whatever its value: a run always has best weights
        if not (first or value > self.progress.best_value):  # written so that NaN is never better
            return
        self.progress.best_value = -math.inf if math.isnan(value) else value
        self.progress.best_epoch = epoch
        if self.accelerator.is_main_process:
            note = f"epoch {epoch}: validation {monitor} {values[monitor]!r}"
            save_tensors(self.best_path, self.evaluated_module().state_dict(), note)

    def evaluated_module(self) -> nn.Module:
        return self.module if self.ema is None else self.ema.module

    @torch.no_grad()
    def evaluate(
        self, loader: Iterable[tuple[Tensor, Tensor]]
    ) -> tuple[dict[str, float], ClassificationMetrics]:
        """Loss and metrics over every sample once; the moving average is used if there is one."""
        module = self.evaluated_module()
        self.share_buffers(module)
        was_training = module.training
        module.eval()
        metrics, sums = self.make_metrics(), torch.zeros(2, dtype=torch.float64)
        for images, targets in loader:
            images, targets = self.to_device(images), targets.to(self.accelerator.device)
            with self.accelerator.autocast():
                loss, logits = self.task.evaluation_loss(module, images, targets)
            metrics.update(logits.float(), targets)
            sums += torch.tensor([float(loss) * len(targets), len(targets)], dtype=torch.float64)
        module.train(was_training)
        sums = self.gather(sums).sum(0)
        return {"loss": float(sums[0] / sums[1]), **metrics.compute()}, metrics

    def share_buffers(self, module: nn.Module) -> None:
        """Give all processes the first one's buffers: each has batch statistics of its own data."""
        if self.accelerator.num_processes > 1:
            for buffer in module.buffers():
                broadcast(buffer)

    # -------------------------------------------------------------------------------- save and load
    def gather(self, row: Tensor) -> Tensor:
        """Stack a small float64 row of every process: (n,) -> (processes, n)."""
        if self.accelerator.num_processes == 1:
            return row[None].cpu()
        gathered = self.accelerator.gather(row.to(self.accelerator.device)[None])
        return gathered.cpu()

    def save(self) -> None:
        """Write a checkpoint (called on all processes; the first one writes).

        Raises TrainingError: the disk is full or not writable; earlier checkpoints are untouched.
        """
        self.check_losses()
        totals = self.gather(self.totals)
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

    def load(self, path: Path) -> None:
        """Continue from a checkpoint (called on all processes)."""
        checkpoint = self.checkpoints.load(path)
        load_weights(self.module, checkpoint.model, path)
        if self.ema is not None and checkpoint.ema is not None:
            load_weights(self.ema.module, checkpoint.ema, path)
        state = checkpoint.state
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])
        if self.accelerator.scaler is not None and state["scaler"] is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
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
