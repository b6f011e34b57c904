"""Published initial weights of KANConv and KANLinear, by family."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from conv_kan.bases import BASES, Gram
from conv_kan.layers.core import KANLayer
from conv_kan.ops.maths.checks import check_choice


@dataclass(frozen=True)
class _Sizes:
    """Of a layer: C, C/groups, O/groups, K and prod(kernel)."""

    channels: int
    ins: int
    outs: int
    functions: int
    taps: int


@dataclass(frozen=True)
class _Draw:
    """Uniform or normal with mean 0."""

    kind: str
    std: float

    def fill_(self, weight: Tensor, scale: float = 1.0) -> None:
        """Draw the weight, divided by `scale`."""
        with torch.no_grad():
            if self.kind == "uniform":
                bound = math.sqrt(3.0) * self.std / scale
                weight.uniform_(-bound, bound)
            else:
                weight.normal_(0.0, self.std / scale)


_Rule = Callable[[_Sizes], _Draw]


def _kaiming(fan_in: int) -> _Draw:
    """kaiming_uniform with gain 1."""
    return _Draw("uniform", 1.0 / math.sqrt(fan_in))


def _xavier(fan_in: int, fan_out: int) -> _Draw:
    return _Draw("uniform", math.sqrt(2.0 / (fan_in + fan_out)))


def _torch_default(fan_in: int) -> _Draw:
    """What nn.Linear and nn.Conv do."""
    return _Draw("uniform", 1.0 / math.sqrt(3.0 * fan_in))


def _usual(s: _Sizes) -> _Draw:
    return _kaiming(s.ins * s.functions * s.taps)


def _misread(s: _Sizes) -> _Draw:
    # The weight's first dimension is the group, so torch takes the outputs for inputs.
    return _kaiming(s.outs * s.ins * s.functions * s.taps)


def _small(s: _Sizes) -> _Draw:
    return _Draw("normal", 1.0 / (s.channels * s.functions * s.taps))


# Basis weights and base weights of the published layers, by family.
_CONV_BASIS: dict[str, _Rule] = {
    "bernstein": _misread,
    "bspline": _usual,
    "chebyshev": _small,
    "gram": _misread,
    "jacobi": _small,
    "legendre": _misread,
    "rbf": _usual,
    "relu": _usual,
}
_LINEAR_BASIS: dict[str, _Rule] = {
    "bernstein": _small,
    "bspline": _usual,
    "chebyshev": _small,
    "gram": lambda s: _xavier(s.outs * s.functions, s.ins * s.functions),
    "jacobi": _small,
    "legendre": _usual,
    "rbf": lambda s: _Draw("normal", 0.1),
    "relu": lambda s: _torch_default(s.ins * s.functions),
}
_LINEAR_BASE: dict[str, _Rule] = {
    "bernstein": lambda s: _xavier(s.ins, s.outs),
    "gram": lambda s: _xavier(s.ins, s.outs),
    "jacobi": lambda s: _xavier(s.ins, s.outs),
    "rbf": lambda s: _torch_default(s.ins),
}


def _kaiming_base(s: _Sizes) -> _Draw:
    return _kaiming(s.ins * s.taps)


def published_init_(layer: KANLayer, family: str) -> None:
    """Draw the weights of a KANConv or KANLinear as the published layer of this family does.

    The distributions are those of the weights that multiply the unscaled functions, so a basis with
    scale s gets them divided by s. Gram's beta is drawn as well; norms and activations return to
    their initial values. These weights are kept for comparison: they do not give Var(y) = 1.
    Raises: ValueError for an unknown family, and where the layer has another basis.
    Source: torch-conv-kan.
    """
    check_choice("family", family, _CONV_BASIS)
    if not isinstance(layer.basis, BASES[family]):
        raise ValueError(
            f"family={family!r} has another basis than this layer's {layer.basis!r}; pass "
            "the family that made the layer."
        )
    layer.reset_parameters()
    is_linear = layer.geometry.ndim == 0
    outs, ins, functions, *kernel = layer.basis_weight.shape
    sizes = _Sizes(layer.c_in, ins, outs // layer.geometry.groups, functions, math.prod(kernel))
    draw = (_LINEAR_BASIS if is_linear else _CONV_BASIS)[family](sizes)
    draw.fill_(layer.basis_weight, layer.basis.scale)
    if layer.base_weight is not None:
        rule = _LINEAR_BASE.get(family, _kaiming_base) if is_linear else _kaiming_base
        rule(sizes).fill_(layer.base_weight)
    if layer.base_bias is not None:
        _torch_default(ins * functions if layer.base_weight is None else ins).fill_(layer.base_bias)
    if isinstance(layer.basis, Gram):
        _small(sizes).fill_(layer.basis.beta)
