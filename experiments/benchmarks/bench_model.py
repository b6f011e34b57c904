"""Images per second of whole networks, and the memory of a training step, against plain twins."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import torch

from conv_kan import fold
from conv_kan.layers.core import KANLayer
from experiments.benchmarks.harness import Effort, interleave
from experiments.benchmarks.memory import kept_bytes, peak_bytes
from experiments.benchmarks.models import (
    CHANNELS,
    SIDE,
    build,
    equal_twin,
    matching_models,
    model_step,
    small_options,
)
from experiments.benchmarks.record import Row, timed_rows
from experiments.benchmarks.worker import run_isolated
from models.complexity import count_parameters

BENCH = "bench_model"
BATCH = 64
GRAM, PLAIN = "eight_simple_conv_kagn", "eight_simple_conv"
WIDTHS = (16, 32, 64, 128, 256, 256, 512, 512)  # the published eight layers
PEAK_TARGET = 1.5  # times the twin's
# A published transformer of rational functions at its size, beside the same one with GELU.
KAT, VIT = "kat_tiny_patch16_224", "vit"
KAT_TARGET, KAT_BATCH, KAT_SIDE = 1.1, 8, 224  # of its twin's time, and of what it keeps
SHORT = ("simple_conv_kagn", "vggkagn")


def run(short: bool, models: str = "*") -> Iterator[Row]:
    """All rows: speed of every model, the memory of the Gram network of eight layers, then KAT."""
    names = [n for n in matching_models(models) if models != "*" or not short or n in SHORT]
    effort = {"seconds": 2.0, "min_rounds": 4}
    yield from run_isolated(BENCH, "speed", names=names, effort=effort)
    if GRAM in matching_models(models):
        for batch in (BATCH, 4 * BATCH):  # gradients weigh more in one, activations in the other
            yield from run_isolated(
                BENCH, "peak_memory", allocator="mapped", widths=WIDTHS, batch=batch
            )
    if KAT in matching_models(models):
        effort = {"seconds": 0.0 if short else 30.0, "min_rounds": 7}
        yield from run_isolated(BENCH, "transformer", effort=effort)


def speed(names: Sequence[str], effort: dict[str, Any], batch: int = BATCH) -> Iterator[Row]:
    """Training steps (with AdamW) and inference, plain and folded, against the twin's."""
    images = torch.randn(batch, CHANNELS, SIDE, SIDE)
    for name in names:
        twin, options = small_options(name)
        pair = {"twin": twin, "model": name} if twin not in (None, name) else {"model": name}
        models = {role: build(str(n), **_shared(str(n), options)) for role, n in pair.items()}
        baseline = "twin" if "twin" in models else "model"
        steps = {role: model_step(model, images) for role, model in models.items()}
        yield from timed_rows(
            interleave(steps, Effort(**effort)), baseline=baseline, images=batch,
            bench=BENCH, case=name, metric="training step [s]",
        )  # fmt: skip
        if any(isinstance(module, KANLayer) for module in models["model"].modules()):
            models["folded"] = fold(models["model"])
        for model in models.values():
            model.eval()
        with torch.inference_mode():
            passes = {role: lambda m=model: m(images) for role, model in models.items()}
            samples = interleave(passes, Effort(**effort))
        yield from timed_rows(
            samples, baseline=baseline, images=batch,
            bench=BENCH, case=name, metric="inference [s]",
        )  # fmt: skip


def _shared(name: str, options: dict[str, Any]) -> dict[str, Any]:
    known = small_options(name)[1]
    return {key: value for key, value in options.items() if key in known}


def peak_memory(
    widths: Sequence[int], batch: int = BATCH, name: str = GRAM, twin: str = PLAIN
) -> Iterator[Row]:
    """The most that a training step takes, of a network and its twin of equal parameters.

    Weights and optimizer state are there before the step and do not count: they are equal, and
    would only bring the ratio nearer to 1. Gradients, equal too, appear during it and count.
    """
    images = torch.randn(batch, CHANNELS, SIDE, SIDE)
    peaks, parameters = {}, {}
    for role, model in zip(("model", "twin"), equal_twin(name, twin, widths), strict=True):
        step = model_step(model, images)
        step()
        peaks[role] = peak_bytes(step)
        parameters[role] = count_parameters(model)
    for role in ("twin", "model"):
        yield Row(
            BENCH, f"{name}, batch {batch}", f"{role} of {parameters[role]} parameters",
            "peak of a training step [B]", float(peaks[role]),
            baseline="twin of equal parameters", ratio=peaks[role] / peaks["twin"],
            target=PEAK_TARGET if role == "model" else None,
        )  # fmt: skip


def transformer(
    effort: dict[str, Any], batch: int = KAT_BATCH, side: int = KAT_SIDE
) -> Iterator[Row]:
    """Training steps of KAT-tiny and what it keeps for backward, against the ViT of its size."""
    torch.manual_seed(0)
    images = torch.randn(batch, CHANNELS, side, side)
    models = {role: build(name, image_size=side) for role, name in (("twin", VIT), ("model", KAT))}
    case, targets = f"{KAT}, batch {batch}", {"model": KAT_TARGET}
    steps = {role: model_step(model, images) for role, model in models.items()}
    yield from timed_rows(
        interleave(steps, Effort(**effort)), baseline="twin", images=batch, targets=targets,
        bench=BENCH, case=case, metric="training step [s]",
    )  # fmt: skip
    kept = {
        role: kept_bytes(partial(model, images), model.parameters())
        for role, model in models.items()
    }
    for role, size in kept.items():
        yield Row(
            BENCH, case, role, "kept for backward [B]", float(size), baseline="twin",
            ratio=size / kept["twin"], target=targets.get(role),
        )  # fmt: skip
