"""CUDA C++ that CuPy compiles at first use: for tensors on a GPU.

The weights of a convolution and memory formats are left to torch.
"""

from conv_kan.ops.cupy.expand import expand_inputs, pull_back, why_not
from conv_kan.ops.plain.expand import fastest_format, in_format
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
