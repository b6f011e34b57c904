"""C++ that is compiled at first use: for tensors on a CPU."""

from conv_kan.ops.cpp.expand import expand_inputs, pull_back, why_not
from conv_kan.ops.cpp.layout import fastest_format, in_format
from conv_kan.ops.cpp.weights import forward_weights, joint_weight, weight_grads

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
