"""What the trainer adds to the bare loop over the same batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import torch
from rich.console import Console
from torch import Tensor, nn

from experiments.benchmarks.harness import Effort, interleave
from experiments.benchmarks.record import Row, timed_rows
from experiments.benchmarks.worker import run_isolated
from experiments.config.compose import load_config
from experiments.config.schema import Config
from experiments.data import Datasets, EvaluationLoader, TrainLoader
from experiments.data.containers import TensorImages
from experiments.runs.directory import RunDirectory
from experiments.runs.model import make_model
from experiments.runs.setup import make_accelerator
from experiments.runs.tracking import RunLog
from experiments.tasks.base import create_task
from experiments.training.optim import build_optimizer, build_scheduler
from experiments.training.trainer import Trainer

BENCH = "bench_trainer"
TARGET = 1.05  # times the bare loop
STEPS = 2  # of one sample
# A network whose step takes a few milliseconds, one for real work, and its twin.
CASES = {
    "quickstart": ["experiment=quickstart", "trainer.ema_decay=null", "augment=none"],
    "simple_conv_kagn": ["data=digits", "data.image_size=32", "model=simple_conv_kagn"],
    "simple_conv": ["data=digits", "data.image_size=32", "model=simple_conv"],
}
SHORT = ("quickstart",)


def run(short: bool) -> Iterator[Row]:
    """All cases, or the hardest one: the smaller the step, the more the trainer weighs."""
    effort = {"seconds": 8.0 if short else 20.0, "min_rounds": 9, "max_rounds": 400}
    cases = {name: CASES[name] for name in (SHORT if short else CASES)}
    for name, overrides in cases.items():
        yield from run_isolated(BENCH, "overhead", case=name, overrides=overrides, effort=effort)


def overhead(case: str, overrides: list[str], effort: dict[str, Any]) -> Iterator[Row]:
    """Trainer.train_epoch against zero_grad, forward, loss, backward, clipping and step."""
    with TemporaryDirectory() as directory:
        config = load_config("cifar", [*overrides, "trainer.progress=false"])
        batches = _batches(config)
        trainer = make_trainer(config, batches, Path(directory))

        def train() -> None:
            torch.use_deterministic_algorithms(config.trainer.deterministic, warn_only=True)
            trainer.progress.step_in_epoch = 0
            trainer.train_epoch()

        steps = {"bare loop": _bare_loop(config, batches), "trainer": train}
        samples = interleave(steps, Effort(**effort))
        trainer.close()
    per_step = {name: [s / len(batches) for s in seconds] for name, seconds in samples.items()}
    yield from timed_rows(
        per_step, baseline="bare loop", images=len(batches[0][0]), targets={"trainer": TARGET},
        bench=BENCH, case=case, metric="training step [s]",
    )  # fmt: skip


def _batches(config: Config) -> list[tuple[Tensor, Tensor]]:
    side = config.data.square() or 32
    size = config.trainer.batch_size
    return [(torch.randn(size, 1, side, side), torch.randint(0, 10, (size,))) for _ in range(STEPS)]


def _bare_loop(config: Config, batches: list[tuple[Tensor, Tensor]]) -> Callable[[], None]:
    torch.manual_seed(0)
    model = make_model(config, 10, 1)
    optimizer = build_optimizer(model, config.optimizer)
    criterion = nn.CrossEntropyLoss(label_smoothing=config.loss.label_smoothing)
    max_norm = config.trainer.max_grad_norm

    def loop() -> None:
        torch.use_deterministic_algorithms(False)  # torch's default
        for images, targets in batches:
            optimizer.zero_grad()
            loss = criterion(model(images), targets)
            loss.backward()
            if max_norm is not None:  # part of what is computed, not of what the trainer adds
                nn.utils.clip_grad_norm_(model.parameters(), max_norm)
            optimizer.step()

    return loop


@dataclass
class Loaded:
    """Batches that are in memory already, in the place of a TrainLoader."""

    batches: list[tuple[Tensor, Tensor]]

    @property
    def steps_per_epoch(self) -> int:
        return len(self.batches)

    def epoch(self, epoch: int, start_step: int = 0) -> Iterator[list[tuple[Tensor, Tensor]]]:
        for batch in self.batches[start_step:]:
            yield [batch]

    def close(self) -> None:
        """Nothing runs beside."""


def make_trainer(config: Config, batches: list[tuple[Tensor, Tensor]], directory: Path) -> Trainer:
    """A trainer as `experiments.runs.session` builds it, over batches that are loaded."""
    torch.manual_seed(0)
    accelerator = make_accelerator(config)
    model = make_model(config, 10, 1)
    run = RunDirectory(directory)
    loaded = Loaded(batches)
    images, targets = batches[0]
    pixels = (images.clamp(0, 1) * 255).to(torch.uint8)
    data = TensorImages(pixels, targets, [str(label) for label in range(10)])
    task = create_task(config, Datasets(data, data, data))
    task.attach(model)
    log = RunLog(
        run, main=True, row=task.row, steps_per_epoch=len(batches), epochs=config.trainer.epochs,
        batch_size=config.trainer.batch_size, progress=False, console=Console(quiet=True),
    )  # fmt: skip
    trainer = Trainer(
        config.trainer, seed=0, accelerator=accelerator, model=model,
        task=task,
        optimizer=build_optimizer(model, config.optimizer),
        make_scheduler=lambda optimizer: build_scheduler(optimizer, config.scheduler, 10**6, 10**3),
        train_loader=cast(TrainLoader, loaded),
        validation_loader=cast(EvaluationLoader, loaded), run_config={},
    )  # fmt: skip
    trainer.write_to(run.checkpoints, run.best, log)
    return trainer
