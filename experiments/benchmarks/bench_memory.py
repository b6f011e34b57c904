"""The forecast of `python -m models` against how far training steps make a fresh process grow."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import torch

from experiments.benchmarks.harness import Spread
from experiments.benchmarks.memory import peak_bytes
from experiments.benchmarks.models import CHANNELS, build, model_step
from experiments.benchmarks.record import Row
from experiments.benchmarks.worker import run_isolated
from models.memory import Forecast, forecast_memory

BENCH = "bench_memory"
METRIC = "growth of a process that trains [B]"
TARGET = 1.15  # 1 + how far the forecast is from the measured growth, as a share of it
STEPS = 3  # the allocator's holes hardly grow after them
PROCESSES = 5  # glibc lays out equal processes differently, by up to 12 % of their growth


class Case(NamedTuple):
    """A model with the sides of its images and a batch."""

    name: str
    batch: int
    side: int = 32
    options: dict[str, Any] = {}  # noqa: RUF012 - never changed


CASES = (
    Case("tiny_densekagnet", 64),
    Case("kaconvnet_s", 64, 64),
    Case("eight_simple_conv_kan", 128),
    Case("vggkan", 256),
    Case("kagrdnet", 32),
    Case("vggkagn", 512),
    Case("reskagnet", 16, 64, {"depth": 50}),
    Case("simple_conv_kagn", 512),
    Case("densenet", 64),
    Case("resnet", 256),
)
TESTED = CASES[:5]  # those whose equal processes differ least
SHORT = ("vggkan",)


def run(short: bool) -> Iterator[Row]:
    """Of every case the growth, and the forecast with 1 + its distance as a share of the growth."""
    for case in CASES:
        if not short or case.name in SHORT:
            yield from compare(case)


def compare(case: Case) -> tuple[Row, Row]:
    """The growth of fresh processes, its median, and the forecast."""
    found = [
        row for _ in range(PROCESSES) for row in run_isolated(BENCH, "measured", case=list(case))
    ]
    spread = Spread.of([row.median for row in found])
    grown = replace(found[-1], median=spread.median, q1=spread.q1, q3=spread.q3, rounds=len(found))
    growth = forecast(case).growth
    apart = 1 + abs(growth / spread.median - 1)
    told = replace(
        found[-1], provider="forecast", median=float(growth), baseline="measured", ratio=apart,
        target=TARGET,
    )  # fmt: skip
    return grown, told


def forecast(case: Case) -> Forecast:
    """The forecast of a case, on the device "meta"."""
    with torch.device("meta"):
        model = build(case.name, **case.options)
    return forecast_memory(model, (CHANNELS, case.side, case.side), case.batch)


def measured(case: list[Any]) -> Iterator[Row]:
    """How far this process, which must be fresh, grows after a model and a batch are loaded."""
    name, batch, side, options = case
    images = torch.randn(batch, CHANNELS, side, side)
    step = model_step(build(name, **options), images)

    def train() -> None:
        for _ in range(STEPS):
            step()

    told = [f"{key}={value}" for key, value in options.items()]
    text = " ".join([name, f"batch_size={batch}", f"side={side}", *told])
    yield Row(BENCH, text, "measured", METRIC, float(peak_bytes(train)))
