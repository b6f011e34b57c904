"""What every classifier here shares: features, pooling, head; and convolutions with a norm."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from conv_kan.ops.maths.norms import subtracts_means
from models.network import Network

_POOLS = (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d)
_DROPOUTS = (nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)


class ConvNet(Network):
    """logits = head(flatten(average_pool(features(x)))), with the contract of timm's models.

    `features` holds numbered layers, or stages of numbered layers, the first of which is the stem.
    The head reads `num_features` pooled values. `training_problem` says why training is useless, if
    it is: such networks were published, and are built to hold their weights. Other words are
    Network's.

    Shapes: x (B, C, *S), S of ndim sizes, each at least min_size -> logits (B, num_classes), or a
        tuple of them where the head nests several classifiers.
    Raises: ValueError for an image of other dimensions, or smaller than the pools and norms of
        `features` can take, and from the backward pass in training, if there is such a problem.
    """

    task = "classification"
    global_pools = (None, "avg")

    features: nn.Module
    pool: nn.Module

    def __init__(
        self,
        features: nn.Module,
        make_head: Callable[[int], nn.Module],
        *,
        feature_shape: Sequence[int] = (1, 1),
        training_problem: str = "",
        **network: Any,
    ) -> None:
        ndim = len(feature_shape)
        body = {"features": features, "pool": _POOLS[ndim - 1](tuple(feature_shape))}
        super().__init__(body, make_head, ndim=ndim, **network)
        self.training_problem = training_problem

    def forward_features(self, x: Tensor) -> Tensor:
        """Return the last maps (B, C, *s)."""
        self._check_size(x)
        maps: Tensor = self.features(x)
        return maps

    def forward_head(self, maps: Tensor, pre_logits: bool = False) -> Tensor | tuple[Tensor, ...]:
        """Return the logits of the last maps, or what the head reads: (B, num_features)."""
        pooled = torch.flatten(self.pool(maps), 1)
        return pooled if pre_logits else self.head(pooled)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        logits = self.forward_head(self.forward_features(x))
        if self.training_problem and self.training:
            self._refuse_gradients(logits)
        return logits

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Return how parameters form layers, for a learning rate that decays with depth."""
        layer = (r"^features\.(\d+)", None)
        block = (r"^features\.(\d+)\.(\d+)", None)
        return {"stem": r"^features\.0\.", "blocks": [layer] if coarse else [block, layer]}

    def _refuse_gradients(self, logits: Tensor | tuple[Tensor, ...]) -> None:
        """Raise the problem as soon as a gradient reaches the logits."""

        def refuse(grad: Tensor) -> None:
            raise ValueError(self.training_problem)

        for part in (logits,) if isinstance(logits, Tensor) else logits:
            if part.requires_grad:
                part.register_hook(refuse)


class ConvBlock(nn.Sequential):
    """dropout of channels, convolution, norm, activation; what is None is left out.

    Before a norm that subtracts means the gradient of the bias is 0: exactly here, where a rounding
    error would become steps of the learning rate with Adam. Published networks have such biases.
    """

    def __init__(
        self,
        conv: nn.Module,
        norm: nn.Module | None,
        activation: nn.Module | None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if dropout:
            ndim = len(conv.kernel_size)  # type: ignore[arg-type]
            self.dropout = _DROPOUTS[ndim - 1](dropout)
        self.conv = conv
        for name, layer in (("norm", norm), ("activation", activation)):
            if layer is not None:
                self.add_module(name, layer)

    def forward(self, input: Tensor) -> Tensor:
        norm = getattr(self, "norm", None)
        for layer in self:
            if layer is self.conv and norm is not None:
                input = layer(input, centered=subtracts_means(norm))
            else:
                input = layer(input)
        return input


class _Centered:
    """A convolution whose caller may say that it subtracts the mean of every output."""

    def forward(self: Any, input: Tensor, centered: bool = False) -> Tensor:
        bias = self.bias
        if centered and bias is not None:  # 0, not none, which distributed training would miss
            bias = bias + (bias.detach() - bias)
        output: Tensor = self._conv_forward(input, self.weight, bias)
        return output


class Conv1d(_Centered, nn.Conv1d):
    """nn.Conv1d with `centered`."""


class Conv2d(_Centered, nn.Conv2d):
    """nn.Conv2d with `centered`."""


class Conv3d(_Centered, nn.Conv3d):
    """nn.Conv3d with `centered`."""


CONVS = (Conv1d, Conv2d, Conv3d)


def pooled_norm_problem(norm: str, ends_in_norm: bool, feature_shape: Sequence[int]) -> str:
    """Why a network cannot learn whose features are the same for every image; "" if they are not.

    An instance norm gives every map the same mean, so that its global average is a constant.
    """
    if norm != "instance" or not ends_in_norm or set(feature_shape) != {1}:
        return ""
    return (
        "norm=instance at the end of the features gives every map the same mean, and the "
        "average over all positions is then the same for every image: the network cannot "
        "learn. Use norm=batch, or end in a layer with an activation (activation=silu)"
    )


def check_groups(groups: int, layers: list[tuple[int, int]]) -> None:
    """Refuse groups that do not divide the channels of every layer (c_in, c_out).

    Raises: ValueError naming the first such layer and the values that all layers allow.
    """
    for c_in, c_out in layers:
        if c_in % groups or c_out % groups:
            every = [channels for pair in layers for channels in pair]
            valid = [g for g in range(1, min(every) + 1) if not any(c % g for c in every)]
            raise ValueError(
                f"groups={groups} must divide the channels of every layer but the first, and the "
                f"layer {c_in} -> {c_out} is not divisible; use one of {valid}"
            )
