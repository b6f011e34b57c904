"""torchkan's networks: a stem of plain convolutions for images of 28 x 28 before KAN layers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from conv_kan.bases import create_basis
from conv_kan.layers.activation import Activation
from conv_kan.layers.linear import KANLinear
from conv_kan.ops.maths.activations import ActivationLike
from conv_kan.ops.maths.checks import check_int
from conv_kan.ops.maths.rational import horner

SIZE = 28


class Volver(nn.Module):
    """y = head(flatten(stem(x))), stem: ReLU(3x3 convolution) and 2x2 pooling, for every width.

    Shapes: x (B, channels, 28, 28), or anything that can be viewed so, for example (B, 784).
    """

    def __init__(self, channels: int, widths: Sequence[int], head: nn.Module) -> None:
        super().__init__()
        stem: list[nn.Module] = []
        for c_in, c_out in pairwise([channels, *widths]):
            stem += [nn.Conv2d(c_in, c_out, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        self.channels, self.feature_extractor, self.head = channels, nn.Sequential(*stem), head

    def forward(self, x: Tensor) -> Tensor:
        images = x.reshape(-1, self.channels, SIZE, SIZE)
        y: Tensor = self.head(self.feature_extractor(images).flatten(1))
        return y


class TaylorLayer(nn.Module):
    """y = act(norm(base(x) + poly(x))), base: Linear, poly: KANLinear of powers, both with biases.

    Shapes: x (B, in_features) -> y (B, out_features).
    """

    def __init__(
        self, in_features: int, out_features: int, order: int, activation: ActivationLike
    ) -> None:
        super().__init__()
        basis = create_basis("monomial", degree=order, squash="none", scale="none")
        self.base = nn.Linear(in_features, out_features)
        self.poly = KANLinear(
            in_features, out_features, basis=basis, base=None, base_bias=True, norm=None,
            activation=None,
        )  # fmt: skip
        self.norm = nn.BatchNorm1d(out_features)
        self.activation = Activation(activation)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.activation(self.norm(self.base(x) + self.poly(x)))
        return y


class SampleRange(nn.Module):
    """u = (2 x - low - high) / (high - low), low and high the extremes of a sample; 0 where equal.

    Shapes: x, u (B, C).
    """

    def forward(self, x: Tensor) -> Tensor:
        low, high = x.amin(1, keepdim=True), x.amax(1, keepdim=True)
        spread = high - low
        return (2.0 * x - (low + high)) / torch.where(spread > 0, spread, 1.0)


class SharedPolynomial(nn.Module):
    """y = sum_m a_m x^m, elementwise, the same learned a for all features; y = x at first."""

    def __init__(self, degree: int) -> None:
        super().__init__()
        self.coefficients = nn.Parameter(torch.zeros(check_int("degree", degree, 1) + 1))
        with torch.no_grad():
            self.coefficients[1] = 1.0

    def forward(self, x: Tensor) -> Tensor:
        return horner(x, self.coefficients.unbind())
