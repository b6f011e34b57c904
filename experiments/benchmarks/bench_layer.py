"""A layer's training step, inference and memory, against its bare convolutions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from experiments.benchmarks.harness import Effort, interleave
from experiments.benchmarks.layers import (
    BF16_TARGET,
    KEPT_TARGET,
    LAYERS,
    Setting,
    bfloat16_input,
    layer_step,
    limit_of,
    limit_step,
)
from experiments.benchmarks.memory import kept_bytes, peak_bytes
from experiments.benchmarks.record import (
    BF16_MATRIX_FLAGS,
    Row,
    bf16_instructions,
    timed_rows,
)
from experiments.benchmarks.worker import run_isolated

BENCH = "bench_layer"


def run(short: bool, allocators: Sequence[str]) -> Iterator[Row]:
    """All rows: time under every allocator, bf16, inference, kept and peak memory."""
    effort = {"seconds": 3.0} if short else {"seconds": 5.0, "min_rounds": 7}
    names = list(LAYERS)
    for allocator in allocators:
        yield from run_isolated(
            BENCH, "training_step", allocator=allocator, names=names, effort=effort
        )
    yield from run_isolated(BENCH, "kept_for_backward", names=names)
    if short:
        return
    yield from run_isolated(BENCH, "inference", names=names, effort={"seconds": 2.0})
    yield from run_isolated(BENCH, "bfloat16", names=names, effort={"seconds": 3.0})
    for name in names:  # a process each: what one leaves behind must not serve the next
        yield from run_isolated(BENCH, "peak_memory", allocator="mapped", name=name)


def training_step(
    names: Sequence[str], effort: dict[str, Any], setting: dict[str, int] | None = None
) -> Iterator[Row]:
    """Forward and backward in float32, with the gradient of the input."""
    size = Setting(**(setting or {}))
    for name in names:
        case = LAYERS[name]
        layer, (other, stand_in) = case.layer(size), case.other(size)
        steps = {
            "limit": limit_step(limit_of(layer, size)),
            "layer": layer_step(layer, size.input()),
            other: layer_step(stand_in, size.input()),
        }
        yield from timed_rows(
            interleave(steps, Effort(**effort)), baseline="limit", images=size.batch,
            targets={"layer": case.target}, bench=BENCH, case=name, metric="training step [s]",
        )  # fmt: skip


def inference(
    names: Sequence[str], effort: dict[str, Any], setting: dict[str, int] | None = None
) -> Iterator[Row]:
    """Forward in eval mode without gradients, in float32."""
    size = Setting(**(setting or {}))
    for name in names:
        layer = LAYERS[name].layer(size).eval()
        limit, x = limit_of(layer, size), size.input()
        with torch.inference_mode():
            samples = interleave({"limit": limit, "layer": partial(layer, x)}, Effort(**effort))
        yield from timed_rows(
            samples, baseline="limit", images=size.batch,
            bench=BENCH, case=name, metric="inference [s]",
        )  # fmt: skip


def bfloat16(
    names: Sequence[str], effort: dict[str, Any], setting: dict[str, int] | None = None
) -> Iterator[Row]:
    """The training step under bf16 autocast with channels_last, against float32 contiguous.

    So too for the bare convolutions, which say what the processor can gain. The target applies to
    processors that multiply matrices of bfloat16.
    """
    size = Setting(**(setting or {}))
    able = any(flag in BF16_MATRIX_FLAGS for flag in bf16_instructions().split())
    for name in names:
        case = LAYERS[name]
        layer = case.layer(size)
        half = case.layer(size).to(memory_format=torch.channels_last)
        limit = limit_of(layer, size)
        steps = {
            "limit": limit_step(limit),
            "limit in bfloat16": limit_step(limit_of(layer, size).in_bfloat16(), autocast=True),
            "float32": layer_step(layer, size.input()),
            "bfloat16": layer_step(half, bfloat16_input(size.input()), autocast=True),
        }
        samples = interleave(steps, Effort(**effort))
        for single, halved in (("limit", "limit in bfloat16"), ("float32", "bfloat16")):
            first, second = timed_rows(
                {single: samples[single], halved: samples[halved]},
                baseline=single, images=size.batch,
                targets={"bfloat16": BF16_TARGET} if able else None,
                bench=BENCH, case=name, metric="training step, bf16 [s]",
            )  # fmt: skip
            yield first
            yield replace(second, dtype="bfloat16", layout="channels_last")


def kept_for_backward(names: Sequence[str], setting: dict[str, int] | None = None) -> Iterator[Row]:
    """What a training step keeps between forward and backward, against its input."""
    size = Setting(**(setting or {}))
    for name in names:
        case = LAYERS[name]
        layers = {"layer": case.layer(size)}
        if case.stand_in is not None:
            layers |= [case.other(size)]
        for provider, layer in layers.items():
            x = size.input()
            kept = kept_bytes(partial(layer, x), layer.parameters())
            yield Row(
                BENCH, name, provider, "kept for backward [B]", float(kept),
                baseline="input", ratio=kept / x.nbytes,
                target=KEPT_TARGET if provider == "layer" else None,
            )  # fmt: skip


def peak_memory(name: str, setting: dict[str, int] | None = None) -> Iterator[Row]:
    """The most that a training step takes beyond weights and input, against its limit's."""
    size = Setting(**(setting or {}))
    layer = LAYERS[name].layer(size)
    peaks = {}
    for provider, step in (
        ("limit", limit_step(limit_of(layer, size))),
        ("layer", layer_step(layer, size.input())),
    ):
        step()
        peaks[provider] = peak_bytes(step)
    for provider, peak in peaks.items():
        yield Row(
            BENCH, name, provider, "peak of a training step [B]", float(peak),
            baseline="limit", ratio=peak / peaks["limit"],
        )  # fmt: skip
