"""Plain torch, which runs anywhere and is the reference for the other backends."""

from conv_kan.ops.plain.expand import (
    expand_inputs,
    fastest_format,
    in_format,
    pull_back,
    why_not,
)
from conv_kan.ops.plain.weights import forward_weights, joint_weight, weight_grads

__all__ = [
    "expand_inputs",
    "fastest_format",
    "forward_weights",
    "in_format",
    "joint_weight",
    "pull_back",
    "weight_grads",
    "why_not",
]
