"""Layers and small networks against the plain torch form of the same, which published code has."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from conv_kan import KAN, EfficientKANLinear, GroupRational
from experiments.benchmarks.harness import Effort, interleave
from experiments.benchmarks.layers import layer_step
from experiments.benchmarks.memory import kept_bytes
from experiments.benchmarks.plain_forms import PlainPolynomials, PlainRational, PlainSplines
from experiments.benchmarks.record import Row, timed_rows
from experiments.benchmarks.worker import run_isolated

BENCH = "bench_published"
THREADS = 2  # those for which the targets are
_FEATURES, _SIZES, _BATCH = 1024, (784, 256, 10), 256


@dataclass(frozen=True)
class Case:
    """Our layer, its plain form, the shape of an input, and what the layer may take of both.

    `target`: of the plain form's time; `kept`: bytes kept for backward, of the input's, if they
    have a target; `limit` makes the bare layer that does the same multiplications, if there is one.
    Functions of a number take a divisor of all sizes, which tests use.
    """

    make: Callable[[int], nn.Module]
    plain: Callable[[Any], nn.Module]
    shape: Callable[[int], tuple[int, ...]]
    target: float
    kept: float | None = None
    limit: Callable[[Any], nn.Linear] | None = None


def _bare(layer: EfficientKANLinear) -> nn.Linear:
    maps = layer.expansion.num_maps
    return nn.Linear(maps * layer.in_features, layer.out_features, bias=False)


def _network(basis: str, small: int) -> KAN:
    return KAN([*(size // small for size in _SIZES[:2]), _SIZES[2]], basis=basis)


def _polynomials(basis: str) -> Case:
    return Case(
        partial(_network, basis),
        PlainPolynomials,
        lambda small: (_BATCH // small, _SIZES[0] // small),
        0.9,
    )


CASES: dict[str, Case] = {
    "EfficientKANLinear 1024": Case(
        lambda small: EfficientKANLinear(_FEATURES // small, _FEATURES // small),
        PlainSplines,
        lambda small: (_BATCH // small, _FEATURES // small),
        0.85,
        kept=3.0,
        limit=_bare,
    ),
    "Gram 784-256-10": _polynomials("gram"),
    "Legendre 784-256-10": _polynomials("legendre"),
    "GroupRational (16, 1024, 64)": Case(
        lambda small: GroupRational(8), PlainRational, lambda small: (16, 1024 // small, 64), 0.8
    ),
}


def run(short: bool) -> Iterator[Row]:
    """All rows: training steps in eleven rounds or more, then what they keep."""
    effort = {"seconds": 0.0 if short else 10.0, "min_rounds": 11}
    names = list(CASES)
    yield from run_isolated(BENCH, "training_step", threads=THREADS, names=names, effort=effort)
    yield from run_isolated(BENCH, "kept_for_backward", threads=THREADS, names=names)


def training_step(names: Sequence[str], effort: dict[str, Any], small: int = 1) -> Iterator[Row]:
    """Forward and backward in float32, with the gradients of the input and all parameters."""
    for name in names:
        case, layer, x = _made(name, small)
        steps = {
            "plain torch": layer_step(case.plain(layer), x),
            "layer": layer_step(layer, x.detach().clone().requires_grad_()),
        }
        if case.limit is not None:
            bare = case.limit(layer)
            steps["limit"] = layer_step(
                bare, torch.randn(len(x), bare.in_features).requires_grad_()
            )
        yield from timed_rows(
            interleave(steps, Effort(**effort)), baseline="plain torch", images=len(x),
            targets={"layer": case.target}, bench=BENCH, case=name, metric="training step [s]",
        )  # fmt: skip


def kept_for_backward(names: Sequence[str], small: int = 1) -> Iterator[Row]:
    """What both keep between forward and backward, against their input."""
    for name in names:
        case, layer, x = _made(name, small)
        for provider, form in (("plain torch", case.plain(layer)), ("layer", layer)):
            kept = kept_bytes(partial(form, x), layer.parameters())
            yield Row(
                BENCH, name, provider, "kept for backward [B]", float(kept), baseline="input",
                ratio=kept / x.nbytes, target=case.kept if provider == "layer" else None,
            )  # fmt: skip


def _made(name: str, small: int) -> tuple[Case, nn.Module, Tensor]:
    torch.manual_seed(0)
    case = CASES[name]
    return case, case.make(small), torch.randn(case.shape(small)).requires_grad_()
