"""How large a model is: trainable parameters, and multiply-accumulates per image."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import conv_kan.ops.wavelet_conv  # noqa: F401 - registers its operator


def count_parameters(model: nn.Module) -> int:
    """Number of trainable parameters, one used in several places counted once.

    As everywhere in the literature these are the numbers that are stored. A few of them do nothing
    where a norm subtracts means: a bias, and the weight of a constant basis function at the taps of
    a kernel that never meet padding (1 of 9 for 3x3, all of them for 1x1). Their gradient is
    exactly 0, and they stay in the tensors so that published weights fit.
    """
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def count_macs(model: nn.Module, input_shape: Sequence[int]) -> int:
    """Multiply-accumulates of one image's forward pass in eval mode, FLOPs / 2.

    Counts matrix products, convolutions, those over wavelets of every edge among them, and
    attention; elementwise work (norms, activations, the evaluation of basis functions) is not
    counted, as is the custom in the literature. The model's modes and the random state are the same
    afterwards.

    Shapes: input_shape without the batch, (C, H, W) for an image.
    """
    tensor = next(model.parameters(), torch.zeros(()))
    image = torch.zeros(1, *input_shape, dtype=tensor.dtype, device=tensor.device)
    devices = [tensor.device] if tensor.device.type == "cuda" else []
    counter = FlopCounterMode(display=False, custom_mapping=_OWN_OPERATORS)
    undisturbed = torch.random.fork_rng(devices)
    with _evaluating(model), _plain_attention(), undisturbed, torch.no_grad(), counter:
        model(image)
    return counter.get_total_flops() // 2


def _wavelet_flops(
    x: Sequence[int],
    weight: Sequence[int],
    scale: Sequence[int],
    translation: Sequence[int],
    mix: Sequence[int] | None,
    *_: Any,
    out_shape: Sequence[int],
) -> int:
    """2 B P O (C/groups prod(kernel)), and 2 B P O (O/groups) where outputs are mixed.

    O outputs at P positions; the arguments are shapes where they were tensors.
    """
    products = math.prod(weight[1:]) + (0 if mix is None else mix[1])
    return 2 * math.prod(out_shape) * products


_OWN_OPERATORS = {torch.ops.conv_kan.wavelet_conv: _wavelet_flops}


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode; afterwards every module is back in its own mode, whatever its parent's."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


@contextmanager
def _plain_attention() -> Iterator[None]:
    """Attention as matrix products: the counter knows no formula for the CPU's fused kernels."""
    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)
