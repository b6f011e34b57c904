"""What every classifier here shares: features, pooling, head, and which weights not to decay."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from conv_kan.bases import Basis


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
    """logits = head(flatten(average_pool(features(x)))).

    `training_problem` says why training is useless, if it is: such networks were published, and are
    built to hold their weights.
    Shapes: x (B, C, H, W), H and W at least min_size -> logits (B, num_classes), or a tuple of
        them where the head nests several classifiers.
    Raises: ValueError for an image smaller than the pools and norms of `features` can take, and
        from the backward pass in training, if there is such a problem.
    """

    def __init__(
        self,
        features: nn.Module,
        head: nn.Module,
        *,
        feature_shape: tuple[int, int] = (1, 1),
        min_size: int = 1,
        published: Published | None = None,
        training_problem: str = "",
    ) -> None:
        super().__init__()
        self.features = features
        self.pool = nn.AdaptiveAvgPool2d(feature_shape)
        self.head = head
        self.min_size = min_size
        self.published = published or Published()
        self.training_problem = training_problem

    def forward_features(self, x: Tensor) -> Tensor:
        """Return the pooled features, (B, C * prod(feature_shape))."""
        self._check_size(x)
        return torch.flatten(self.pool(self.features(x)), 1)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        logits: Tensor | tuple[Tensor, ...] = self.head(self.forward_features(x))
        if self.training_problem and self.training:
            self._refuse_gradients(logits)
        return logits

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
        if x.ndim != 4:
            raise ValueError(f"images must have shape (B, C, H, W), got {tuple(x.shape)}")
        height, width = x.shape[2:]
        if min(height, width) < self.min_size:
            raise ValueError(
                f"images of {height}x{width} are too small for the strides, pools and norms of "
                f"this network; the smallest are {self.min_size}x{self.min_size}. Resize the "
                "images or choose a network with fewer pools"
            )


def basis_parameters(model: nn.Module) -> set[str]:
    """Return the names of all parameters that belong to a basis (Gram betas, for example)."""
    return {
        f"{path}.{name}" if path else name
        for path, module in model.named_modules()
        if isinstance(module, Basis)
        for name, _ in module.named_parameters()
    }


def pooled_norm_problem(norm: str, ends_in_norm: bool, feature_shape: tuple[int, int]) -> str:
    """Why a network cannot learn whose features are the same for every image; "" if they are not.

    An instance norm gives every map the same mean, so that its global average is a constant.
    """
    if norm != "instance" or not ends_in_norm or feature_shape != (1, 1):
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
