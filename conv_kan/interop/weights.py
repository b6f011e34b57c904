"""Rules for the weights of convolutions and linear layers, by basis."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from conv_kan.bases import RBF, Basis, Bernstein, BSpline, Chebyshev, Gram, Jacobi, Legendre, ReLU
from conv_kan.interop.rules import Rule, basis_major, channel_major, inputs_first
from conv_kan.layers.core import KANLayer


def _in_groups(order: Callable[[Tensor], Tensor], groups: int) -> Callable[[Tensor], Tensor]:
    """(O, ...) -> (groups, O/groups, ...) of what `order` returns."""
    return lambda t: order(t).unflatten(0, (groups, -1))


def with_ones(front: int, back: int) -> Callable[[Tensor], Tensor]:
    """More dimensions of size 1 before and behind."""
    return lambda t: t.reshape(*[1] * front, *t.shape, *[1] * back)


_SPLINE = Rule("basis_weight", "spline_conv.{g}.weight", channel_major)
_CONV_WEIGHTS = {
    BSpline: _SPLINE,
    RBF: _SPLINE,
    Chebyshev: Rule("basis_weight", "poly_conv.{g}.weight", channel_major),
    ReLU: Rule("basis_weight", "relukan_conv.{g}.weight", channel_major),
}
_STACKED = {
    Bernstein: channel_major,
    Gram: basis_major,
    Jacobi: basis_major,
    Legendre: basis_major,
}


def conv_rules(layer: KANLayer) -> list[Rule]:
    """Those of the weights and the learned shape of a convolution's basis; none: not published."""
    kind, groups = type(layer.basis), layer.geometry.groups
    if kind in _STACKED:
        rules = [Rule("basis_weight", "poly_weights", _in_groups(_STACKED[kind], groups))]
    else:
        rules = [_CONV_WEIGHTS[kind]] if kind in _CONV_WEIGHTS else []
    phase = with_ones(1, layer.geometry.ndim)
    return [
        *rules,
        Rule("basis.beta", "beta_weights"),
        Rule("basis.low", "phase_low", phase),
        Rule("basis.high", "phase_high", phase),
    ] if rules else []  # fmt: skip


def _image(t: Tensor) -> Tensor:
    """(out, in, K) -> (out, 1, K, in), the entries in the order they have."""
    return t.reshape(t.shape[0], 1, t.shape[2], t.shape[1])


def _linear_rules(weight: Rule, base: str, norm: str) -> list[Rule]:
    beta = Rule("basis.beta", "beta_weights")
    return [weight, Rule("base_weight", base), Rule("norm.", norm), beta]


LINEAR_RULES: dict[type[Basis], list[Rule]] = {
    BSpline: [
        *_linear_rules(Rule("basis_weight", "spline_weight"), "base_weight", "layer_norm."),
        Rule("activation.weight", "prelu.weight"),
    ],
    RBF: [
        *_linear_rules(
            Rule("basis_weight", "spline_linear.weight", channel_major),
            "base_linear.weight",
            "layernorm.",
        ),
        Rule("base_bias", "base_linear.bias"),
    ],
    Legendre: _linear_rules(
        Rule("basis_weight", "poly_weight", channel_major), "base_weight", "layer_norm."
    ),
    Chebyshev: [Rule("basis_weight", "cheby_coeffs", inputs_first)],
    Gram: _linear_rules(
        Rule("basis_weight", "grams_basis_weights", inputs_first), "base_weights", "norm."
    ),
    Jacobi: _linear_rules(
        Rule("basis_weight", "jacobi_coeffs", inputs_first), "base_weights", "norm."
    ),
    Bernstein: _linear_rules(
        Rule("basis_weight", "bernstein_coeffs", inputs_first), "base_weights", "norm."
    ),
    ReLU: [
        Rule("basis_weight", "equal_size_conv.weight", _image),
        Rule("base_bias", "equal_size_conv.bias"),
        Rule("basis.low", "phase_low"),
        Rule("basis.high", "phase_high"),
    ],
}  # fmt: skip
