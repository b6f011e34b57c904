"""The layers that are measured, and the bare convolution that each could not be faster than.

The limit of a layer is nn.Conv2d with the same kernel, without bias, norm and activation, that
reads as many channels as the layer's own convolution reads: the functions that are not constant,
and the base. What a layer takes beyond it is the price of its functions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from conv_kan import FAMILIES, Bottleneck, KAConv, KANConv, WavKANConv


@dataclass(frozen=True)
class Setting:
    """The sizes of a layer: 3x3, padding 1, over (batch, channels, size, size)."""

    batch: int = 16
    channels: int = 64
    size: int = 32

    def input(self, maps: int = 1) -> Tensor:
        """A random input whose gradient is wanted, of `maps` times the channels."""
        shape = (self.batch, self.channels * maps, self.size, self.size)
        return torch.randn(shape).requires_grad_()


class Unfolded(nn.Module):
    """A KAConv as its formula reads: g of all values of every window, and all maps at once."""

    def __init__(self, c_in: int, c_out: int, kernel_size: int, **options: Any) -> None:
        super().__init__()
        self.layer = KAConv(c_in, c_out, kernel_size, **options)

    def forward(self, x: Tensor) -> Tensor:
        layer, geometry = self.layer, self.layer.geometry
        channels, taps = layer.offset.shape
        windows = F.unfold(x, geometry.kernel_size, padding=geometry.padding)
        windows = windows.unflatten(1, (channels, taps))
        negative, positive, offset = (
            t.unsqueeze(-1) for t in (layer.negative_slope, layer.positive_slope, layer.offset)
        )
        g = torch.where(windows < 0, negative * windows, positive * windows) + offset
        lines = layer.line_weight.unflatten(0, (channels, -1)) @ g
        bias = layer.silu_bias + layer.line_bias
        silu = F.conv2d(
            F.silu(x), layer.silu_weight, bias, padding=geometry.padding, groups=channels
        )
        maps = silu + lines.reshape(silu.shape)
        assert layer.norm is not None
        maps = F.prelu(layer.norm(maps), layer.slope)
        return F.conv2d(maps, layer.mix_weight[:, :, None, None], layer.mix_bias)


@dataclass(frozen=True)
class LayerCase:
    """A layer, the multiple of its limit that it may take, and the arguments it is made with.

    `stand_in` is who computes the same without this project's work, and how it is made; None: the
    layer itself with backend="torch".
    """

    name: str
    make: Callable[..., nn.Module]
    target: float
    options: Mapping[str, Any] = field(default_factory=dict)
    stand_in: tuple[str, Callable[..., nn.Module]] | None = None

    def layer(self, setting: Setting, **options: Any) -> nn.Module:
        return self._made(partial(self.make, **options), setting)

    def other(self, setting: Setting) -> tuple[str, nn.Module]:
        """The name of the stand-in, and the stand-in."""
        if self.stand_in is None:
            return "backend torch", self.layer(setting, backend="torch")
        name, make = self.stand_in
        return name, self._made(make, setting)

    def _made(self, make: Callable[..., nn.Module], setting: Setting) -> nn.Module:
        return make(setting.channels, setting.channels, 3, padding=1, **self.options)


# The multiples of the limit that a training step may take on two cores in float32.
_TARGETS = {"bspline": 1.25, "rbf": 1.25, "relu": 1.25}

LAYERS: dict[str, LayerCase] = {
    **{n: LayerCase(n, f.conv, _TARGETS.get(n, 1.2)) for n, f in FAMILIES.items()},
    "bottleneck": LayerCase("bottleneck", Bottleneck, 1.4, {"basis": "gram"}),
    "wavelet": LayerCase("wavelet", WavKANConv, 10.0),
    "kaconv": LayerCase("kaconv", KAConv, 2.0, stand_in=("unfolded", Unfolded)),
}
KEPT_TARGET = 2.5  # times the input
BF16_TARGET = 1 / 3  # of the time in float32, where matrices of bfloat16 are multiplied


def bfloat16_input(x: Tensor) -> Tensor:
    """x in bfloat16 and channels_last, as a layer under autocast leaves it for the next."""
    return x.detach().to(torch.bfloat16, memory_format=torch.channels_last).requires_grad_()


class BareConvolutions(nn.Module):
    """Convolutions with an input of their own each; forward runs them all.

    Shapes: forward() -> a list of outputs; `step` sends fixed gradients back through all of them.
    """

    def __init__(self, convolutions: list[nn.Conv2d], setting: Setting) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(convolutions)
        shape = (setting.size, setting.size)
        self.inputs = [
            torch.randn(setting.batch, c.in_channels, *shape).requires_grad_() for c in convolutions
        ]

    def in_bfloat16(self) -> BareConvolutions:
        """Itself, its inputs in bfloat16 and all in channels_last."""
        self.inputs = [bfloat16_input(x) for x in self.inputs]
        return self.to(memory_format=torch.channels_last)

    def forward(self) -> list[Tensor]:
        return [c(x) for c, x in zip(self.convolutions, self.inputs, strict=True)]


def limit_of(layer: nn.Module, setting: Setting) -> BareConvolutions:
    """The bare convolutions that do the multiplications of a layer.

    Raises: TypeError for a layer that no rule covers.
    """
    c = setting.channels
    if isinstance(layer, KANConv):
        return BareConvolutions([_bare(c * layer.expansion.num_maps, c, 3)], setting)
    if isinstance(layer, WavKANConv):
        return BareConvolutions([_bare(2 * c, c, 3)], setting)  # one wavelet and the base
    if isinstance(layer, KAConv):
        maps = c * layer.multiplier
        of_channels = nn.Conv2d(3 * c, maps, 3, padding=1, groups=c, bias=False)
        return BareConvolutions([of_channels, _bare(maps, c, 1)], setting)
    if isinstance(layer, Bottleneck) and isinstance(layer.inner, KANConv):
        inner = layer.inner.c_in
        convolutions = [
            _bare(c, inner, 1),
            _bare(inner * layer.inner.expansion.num_maps, inner, 3),
            _bare(inner, c, 1),
            _bare(c, c, 3),  # of the base branch
        ]
        return BareConvolutions(convolutions, setting)
    raise TypeError(f"{type(layer).__name__}: say in limit_of which convolutions are its limit")


def _bare(c_in: int, c_out: int, kernel: int) -> nn.Conv2d:
    return nn.Conv2d(c_in, c_out, kernel, padding=kernel // 2, bias=False)


# ------------------------------------------------------------------------------------------- steps
def layer_step(layer: nn.Module, x: Tensor, autocast: bool = False) -> Callable[[], None]:
    """Forward and backward of a layer, gradients of the input and of all parameters."""
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        grad_y = torch.randn_like(layer(x))

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            y = layer(x)
        y.backward(grad_y)
        layer.zero_grad()
        x.grad = None

    return step


def limit_step(limit: BareConvolutions, autocast: bool = False) -> Callable[[], None]:
    """The same of the bare convolutions."""
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        grads = [torch.randn_like(y) for y in limit()]

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            outputs = limit()
        torch.autograd.backward(outputs, grads)
        limit.zero_grad()
        for x in limit.inputs:
            x.grad = None

    return step
