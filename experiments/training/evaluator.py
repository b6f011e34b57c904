"""One pass over a split: loss and figures over every sample once, on any number of processes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast, gather_object, send_to_device
from torch import Tensor, nn

from experiments.data.recipe import Batch
from experiments.errors import ConfigError, UserError
from experiments.tasks.base import Metrics, Task
from experiments.training.interrupt import leave_workers_to_their_loader

# By the number of spatial dimensions.
CHANNELS_LAST = {2: torch.channels_last, 3: torch.channels_last_3d}


class Evaluator:
    """Moves batches to the device, sums over processes and evaluates modules for one task."""

    def __init__(self, accelerator: Accelerator, task: Task, channels_last: bool) -> None:
        self.accelerator, self.task = accelerator, task
        if channels_last and task.ndim not in CHANNELS_LAST:
            raise ConfigError(
                f"trainer.channels_last=true: inputs of {task.ndim} spatial dimension have only "
                "one memory format; type trainer.channels_last=false"
            )
        self.memory_format = CHANNELS_LAST[task.ndim] if channels_last else torch.preserve_format

    def to_device(self, batch: Batch) -> Batch:
        device = self.accelerator.device
        inputs = batch[0].to(device, non_blocking=True, memory_format=self.memory_format)
        return inputs, send_to_device(batch[1], device, non_blocking=True)

    def gather(self, row: Tensor) -> Tensor:
        """Stack a small float64 row of every process: (n,) -> (processes, n)."""
        if self.accelerator.num_processes == 1:
            return row[None].cpu()
        gathered = self.accelerator.gather(row.to(self.accelerator.device)[None])
        return gathered.cpu()

    def agree(self, failure: UserError | None, row: Tensor) -> Tensor:
        """Gather a row, where all processes are at one point; the error of one is raised on all.

        So none waits for a process that has ended, and what they save or say is common to all.
        """
        if self.accelerator.num_processes == 1:
            if failure is not None:
                raise failure
            return self.gather(row)
        failed = torch.tensor([failure is not None], dtype=torch.float64, device=row.device)
        rows = self.gather(torch.cat([row.double(), failed]))
        if rows[:, -1].any():
            raise next(error for error in gather_object([failure]) if error is not None)
        return rows[:, :-1]

    @torch.no_grad()
    def evaluate(
        self, module: nn.Module, loader: Iterable[Batch], metrics: Metrics | None = None
    ) -> tuple[dict[str, float], Metrics]:
        """Loss and figures of a bare module, and what gathered them: the task's metrics unless
        others are given.

        Raises what the loader raises, on all processes.
        """
        self._share_buffers(module)
        was_training = module.training
        module.eval()
        metrics = self.task.metrics(self.accelerator.device) if metrics is None else metrics
        sums = torch.zeros(2, dtype=torch.float64)
        failure = None
        try:
            for batch in loader:
                leave_workers_to_their_loader()
                inputs, targets = self.to_device(batch)
                with self.accelerator.autocast():
                    loss, outputs = self.task.evaluation_loss(module, inputs, targets)
                metrics.update(outputs, targets)
                sums += torch.tensor([float(loss) * len(inputs), len(inputs)], dtype=torch.float64)
        except UserError as error:
            failure = error
        module.train(was_training)
        sums = self.agree(failure, sums).sum(0)
        figures = {name: float(value) for name, value in metrics.compute().items()}
        return {"loss": float(sums[0] / sums[1]), **figures}, metrics

    @torch.no_grad()
    def predict(
        self, module: nn.Module, loader: Iterable[Batch]
    ) -> Iterator[tuple[Tensor, Any, Any]]:
        """Yield (inputs, outputs, targets) of every batch, on the CPU, by this process alone."""
        was_training = module.training
        module.eval()
        for batch in loader:
            inputs, targets = self.to_device(batch)
            with self.accelerator.autocast():
                _, outputs = self.task.evaluation_loss(module, inputs, targets)
            yield batch[0], outputs.float().cpu(), batch[1]
        module.train(was_training)

    def _share_buffers(self, module: nn.Module) -> None:
        """Give all processes the first one's buffers: each has batch statistics of its own data."""
        if self.accelerator.num_processes > 1:
            for buffer in module.buffers():
                broadcast(buffer)
