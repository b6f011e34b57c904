"""What every classifier here shares: features, pooling, head, and the contract of timm's models."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from conv_kan.bases import Basis
from conv_kan.ops.maths.norms import subtracts_means

_POOLS = (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d)
_DROPOUTS = (nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
_AXES = ("L", "H, W", "D, H, W")


@dataclass(frozen=True)
class Published:
    """What a network shares with its published twin.

    paths: our submodules -> the published ones, of all that have weights; without any, there is no
    twin. `warning` and `refusal` as conv_kan.interop.rules.Layout.
    """

    paths: Mapping[str, str] = field(default_factory=dict)
    warning: str = ""
    refusal: str = ""


class ConvNet(nn.Module):
    """logits = head(flatten(average_pool(features(x)))), with the contract of timm's models.

    `features` holds numbered layers, or stages of numbered layers, the first of which is the stem.
    `make_head(num_classes)` builds the head on `num_features` pooled values. `feature_info` says of
    the maps that other networks may read: channels, how many pixels of the image one of theirs
    stands for along an axis, and the path of the module that gives them. `training_problem` says
    why training is useless, if it is: such networks were published, and are built to hold their
    weights.

    Shapes: x (B, C, *S), S of ndim sizes, each at least min_size -> logits (B, num_classes), or a
        tuple of them where the head nests several classifiers.
    Raises: ValueError for an image of other dimensions, or smaller than the pools and norms of
        `features` can take, and from the backward pass in training, if there is such a problem.
    """

    def __init__(
        self,
        features: nn.Module,
        make_head: Callable[[int], nn.Module],
        *,
        num_classes: int,
        num_features: int,
        feature_shape: Sequence[int] = (1, 1),
        min_size: int = 1,
        feature_info: Sequence[Mapping[str, Any]] = (),
        published: Published | None = None,
        training_problem: str = "",
    ) -> None:
        super().__init__()
        self.features = features
        self.ndim = len(feature_shape)
        self.pool = _POOLS[self.ndim - 1](tuple(feature_shape))
        self.num_classes, self.num_features = num_classes, num_features
        self._make_head = make_head
        self.head = make_head(num_classes)
        self.min_size = min_size
        self.feature_info = [dict(info) for info in feature_info]
        self.published = published or Published()
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

    def get_classifier(self) -> nn.Module:
        """Return the head."""
        return self.head

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Put a new head of the same kind in place; num_classes=0: none, features are returned.

        Raises: ValueError for another pooling than the average.
        """
        if global_pool not in (None, "avg"):
            raise ValueError(
                f"global_pool={global_pool!r} is not made for this network, which averages; leave "
                "it out"
            )
        self.num_classes = num_classes
        head = self._make_head(num_classes) if num_classes else nn.Identity()
        tensor = next(self.parameters(), torch.empty(0))
        self.head = head.to(tensor.device, tensor.dtype).train(self.training)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Whether blocks compute in backward again what they would keep; results are the same.

        Raises: ValueError to enable it where no block can.
        """
        able = [m for m in self.features.modules() if hasattr(m, "grad_checkpointing")]
        if enable and not able:
            raise ValueError(
                "no block of this network computes again what it would keep; leave gradient "
                "checkpointing off"
            )
        for module in able:
            module.grad_checkpointing = enable  # type: ignore[assignment]

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Return how parameters form layers, for a learning rate that decays with depth."""
        layer = (r"^features\.(\d+)", None)
        block = (r"^features\.(\d+)\.(\d+)", None)
        return {"stem": r"^features\.0\.", "blocks": [layer] if coarse else [block, layer]}

    def no_weight_decay(self) -> set[str]:
        """Return the names of the learned basis shapes; decay would pull them to another basis."""
        return basis_parameters(self)

    def _refuse_gradients(self, logits: Tensor | tuple[Tensor, ...]) -> None:
        """Raise the problem as soon as a gradient reaches the logits."""

        def refuse(grad: Tensor) -> None:
            raise ValueError(self.training_problem)

        for part in (logits,) if isinstance(logits, Tensor) else logits:
            if part.requires_grad:
                part.register_hook(refuse)

    def _check_size(self, x: Tensor) -> None:
        if x.ndim != self.ndim + 2:
            axes = _AXES[self.ndim - 1]
            raise ValueError(f"images must have shape (B, C, {axes}), got {tuple(x.shape)}")
        size = tuple(x.shape[2:])
        if min(size) < self.min_size:
            smallest = (self.min_size,) * self.ndim
            raise ValueError(
                f"images of {_times(size)} are too small for the strides, pools and norms of "
                f"this network; the smallest are {_times(smallest)}. Resize the "
                "images or choose a network with fewer pools"
            )


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


def basis_parameters(model: nn.Module) -> set[str]:
    """Return the names of all parameters that belong to a basis (Gram betas, for example)."""
    return {
        f"{path}.{name}" if path else name
        for path, module in model.named_modules()
        if isinstance(module, Basis)
        for name, _ in module.named_parameters()
    }


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


def _times(size: Sequence[int]) -> str:
    return "x".join(map(str, size))
