"""Penalties on the weights and on the outputs of the KAN layers of a model."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from conv_kan.layers.efficient import EfficientKANLinear
from conv_kan.layers.kaconv import KAConv
from conv_kan.layers.layer import Layer
from conv_kan.ops.maths.dtypes import promote
from conv_kan.ops.maths.modes import runs_again

KANModule = Layer | EfficientKANLinear | KAConv


def kan_layers(module: nn.Module) -> Iterator[KANModule]:
    """The KAN layers in `module`, itself included, each once, also those inside others."""
    return (layer for layer in module.modules() if isinstance(layer, KANModule))


def outer_layers(module: nn.Module) -> Iterator[KANModule]:
    """The KAN layers in `module` that are not inside another one (as in a Bottleneck)."""
    layers = list(kan_layers(module))
    inner = {id(m) for layer in layers for m in layer.modules() if m is not layer}
    return (layer for layer in layers if id(layer) not in inner)


def l1_weight_norm(module: nn.Module) -> Tensor:
    """sum |w| over the weights of the functions of all KAN layers in `module`; differentiable.

    Shapes: (). Numerics: at least float32.
    Raises: ValueError for a module without KAN layers.
    """
    terms = [
        promote(weight).abs().sum()
        for layer in kan_layers(module)
        for weight in layer.penalized_weights()
    ]
    if not terms:
        raise ValueError(
            f"{type(module).__name__} has no KAN layer to penalize; set the L1 weight penalty to 0."
        )
    return torch.stack(terms).sum()


class ActivationRecorder:
    """Gathers sum_layers mean |y| and sum_layers mean y^2 over outputs y of the outer KAN layers.

        with ActivationRecorder(model) as recorder:
            loss = criterion(model(x), target)
            l1, l2 = recorder.pop()
            (loss + 1e-4 * l1).backward()

    Differentiable; `pop` returns what was gathered since the last one and forgets it (zeros if
    nothing was). Nothing is stored on the modules but a hook, which copies and pickles of the model
    carry in an inert form: an averaged copy of the model records nothing. What layers return when
    they run again in backward (activation checkpointing) is not counted.
    Numerics: at least float32.
    """

    def __init__(self, module: nn.Module) -> None:
        self._terms: list[tuple[Tensor, Tensor]] = []
        hook = _Hook(self)
        self._handles = [layer.register_forward_hook(hook) for layer in outer_layers(module)]

    def record(self, y: Tensor) -> None:
        """Add one layer's output."""
        wide = promote(y)
        terms = wide.abs().mean(), wide.square().mean()
        if not runs_again():
            self._terms.append(terms)

    def pop(self) -> tuple[Tensor, Tensor]:
        """(l1, l2) since the last pop."""
        terms, self._terms = self._terms, []
        if not terms:
            return torch.zeros(()), torch.zeros(())
        l1, l2 = zip(*terms, strict=True)
        return torch.stack(l1).sum(), torch.stack(l2).sum()

    def close(self) -> None:
        """Remove the hooks and forget what was gathered."""
        for handle in self._handles:
            handle.remove()
        self._handles, self._terms = [], []

    def __enter__(self) -> ActivationRecorder:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class _Hook:
    """A forward hook that does not keep its recorder alive, and whose copies do nothing."""

    def __init__(self, recorder: ActivationRecorder | None = None) -> None:
        self._recorder = None if recorder is None else weakref.ref(recorder)

    def __call__(self, module: nn.Module, inputs: Any, y: Tensor) -> None:
        recorder = None if self._recorder is None else self._recorder()
        if recorder is not None:
            recorder.record(y)

    def __reduce__(self) -> tuple[type[_Hook], tuple[()]]:
        return _Hook, ()
