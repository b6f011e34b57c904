"""A forecast of the memory that a training step takes on a CPU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from torch import nn

from models.simulation import Bytes, simulate_steps

# What glibc leaves unused beside blocks that come and go, as a share of them: see forecast_memory.
HOLES = 0.63
# Pages of libraries that a first step reads: torch's kernels and oneDNN's.
CODE = 20 << 20


@dataclass(frozen=True)
class Forecast:
    """Bytes at the moment of a training step at which the process is largest, by what they are for.

    Weights (with buffers) and the batch are there before the step; the others are its `growth`.
    Gradients and kept activations are those of that moment: backward makes the ones while it frees
    the others. Scratch is what layers keep for their next step.
    """

    weights: int
    batch: int
    gradients: int
    optimizer: int
    scratch: int
    kept: int
    transient: int
    holes: int
    code: int

    @property
    def total(self) -> int:
        return sum(asdict(self).values())

    @property
    def growth(self) -> int:
        return self.total - self.weights - self.batch


def forecast_memory(
    model: nn.Module, input_shape: Sequence[int], batch: int, optimizer: str = "adamw"
) -> Forecast:
    """The peak of resident memory in training steps of a model on the device "meta".

        peak = weights + batch + gradients + optimizer + (1 + HOLES) moving + CODE
        moving = scratch + kept + transient

    The bytes of tensors are those of a simulated step (models.simulation), at its costliest moment;
    what oneDNN and others take beside them adds 1 to 5 % where it was traced. The process is
    larger: glibc searches an aligned block with 96 bytes more than it will have, so that one that
    was freed does not do for the next of its size unless its neighbour is free, too, and small
    objects lie between them. What comes and goes in a step then takes 1.4 to 1.9 times its bytes,
    and up to 12 % more or less in two equal processes; with 1 + HOLES the
    forecasts of nine of ten networks are within 14 % of what they took, and one is 18 % above. What
    stays lies without holes.

    It holds for float32 on a CPU with glibc, and from the third step on, when the holes are made.
    experiments/results/bench_memory.csv has what was measured, with AdamW. On a GPU the tensors are
    the sum without holes and code; what its process takes has not been measured. Mixtures of
    experts are taken to be equally busy. `optimizer` is a name of timm.optim.

    Shapes: input_shape without the batch, (C, *S).
    Raises: ValueError for images that the model refuses.
    """
    found = simulate_steps(model, input_shape, batch, optimizer, _cost)
    return Forecast(**found, holes=_holes(found), code=CODE)


def _holes(found: Bytes) -> int:
    return round(HOLES * (found["scratch"] + found["kept"] + found["transient"]))


def _cost(found: Bytes) -> float:
    return sum(found.values()) + _holes(found)
