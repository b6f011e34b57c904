"""Outputs and targets of a whole evaluation, of all processes, for figures that need them all."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric

from experiments.tasks.metrics import computed


class Gathered(Metric):
    """Keeps what it is given. Shapes: outputs (B, D), targets (B, D) -> each (N, D) on the CPU.

    Numerics: outputs in float32, targets in `dtype`.
    """

    full_state_update = False
    outputs: list[Tensor]
    targets: list[Tensor]

    def __init__(self, width: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.width, self.kind = width, dtype
        self.add_state("outputs", default=[], dist_reduce_fx="cat")
        self.add_state("targets", default=[], dist_reduce_fx="cat")
        self.reset()

    def reset(self) -> None:
        super().reset()
        # Never an empty list: gathering needs the shape and dtype on ranks without samples, too.
        self.outputs.append(torch.empty(0, self.width, device=self.device))
        self.targets.append(torch.empty(0, self.width, dtype=self.kind, device=self.device))

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        self.outputs.append(outputs.detach().float())
        self.targets.append(targets.to(self.kind))

    def compute(self) -> tuple[Tensor, Tensor]:
        # Synchronising leaves tensors where there were lists.
        outputs, targets = (
            torch.cat(value) if isinstance(value, list) else value
            for value in (self.outputs, self.targets)
        )
        return outputs.cpu(), targets.cpu()

    def all(self) -> tuple[Tensor, Tensor]:
        """What all processes were given; to be called on all of them."""
        outputs, targets = computed(self)  # which torchmetrics squeezes where they are one number
        return outputs.reshape(-1, self.width), targets.reshape(-1, self.width)
