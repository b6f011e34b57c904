"""How large a model is: trainable parameters, and multiply-accumulates per image, by layer."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
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
    with _counting(model) as counter:
        model(_image(model, input_shape))
    return counter.get_total_flops() // 2


@dataclass
class Layer:
    """A layer by its path: its kind, the shape of its output for one image, and what it costs."""

    path: str
    kind: str
    parameters: int
    output_shape: tuple[int, ...] = ()
    macs: int = 0


def list_layers(model: nn.Module, input_shape: Sequence[int]) -> list[Layer]:
    """The layers that an image passes, in the order of the model's parts, as `count_macs` counts.

    A layer of conv_kan is one, whatever it is made of, and so is a module without parts. One that
    stands in several places is listed once, with all its calls; parameters that several layers
    share count in the first, and those of no layer in none.
    """
    found: list[Layer] = []
    counted: set[Tensor] = set()
    handles = []
    with _counting(model) as counter:
        try:
            for module, path in _layers(model, "", {}).items():
                own = {p for p in module.parameters() if p.requires_grad} - counted
                counted |= own
                found.append(Layer(path, _kind(module), sum(p.numel() for p in own)))
                handles += _watch(module, found[-1], counter)
            model(_image(model, input_shape))
        finally:
            for handle in handles:
                handle.remove()
    return [layer for layer in found if layer.output_shape]


def _layers(module: nn.Module, path: str, found: dict[nn.Module, str]) -> dict[nn.Module, str]:
    """The layers of a module and the first path of each, added to `found`."""
    if type(module).__module__.startswith("conv_kan.layers.") or not any(module.children()):
        found.setdefault(module, path)
        return found
    for name, part in module.named_children():
        _layers(part, f"{path}.{name}".lstrip("."), found)
    return found


def _kind(module: nn.Module) -> str:
    """The class, and the basis of a layer that has one."""
    basis = getattr(module, "basis", None)
    kind = type(module).__name__
    return f"{kind} {type(basis).__name__}" if isinstance(basis, nn.Module) else kind


def _watch(module: nn.Module, layer: Layer, counter: FlopCounterMode) -> list[Any]:
    """Hooks that note what a call gives and costs; several calls add up."""
    before = [0]

    def enter(*_: Any) -> None:
        before[0] = counter.get_total_flops()

    def leave(module: nn.Module, inputs: Any, output: Any) -> None:
        first = output[0] if isinstance(output, tuple) else output
        if isinstance(first, Tensor):
            layer.output_shape = tuple(first.shape[1:])
            layer.macs += (counter.get_total_flops() - before[0]) // 2

    return [module.register_forward_pre_hook(enter), module.register_forward_hook(leave)]


def _image(model: nn.Module, input_shape: Sequence[int]) -> Tensor:
    tensor = next(model.parameters(), torch.zeros(()))
    return torch.zeros(1, *input_shape, dtype=tensor.dtype, device=tensor.device)


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
def _counting(model: nn.Module) -> Iterator[FlopCounterMode]:
    """Inside, the FLOPs of a model in eval mode are counted; no trace is left in it."""
    tensor = next(model.parameters(), torch.zeros(()))
    devices = [tensor.device] if tensor.device.type == "cuda" else []
    counter = FlopCounterMode(display=False, custom_mapping=_OWN_OPERATORS)
    undisturbed = torch.random.fork_rng(devices)
    with _evaluating(model), _plain_attention(), undisturbed, torch.no_grad(), counter:
        yield counter


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
