"""The examples of rational_kat_cu: a perceptron and two convolutions, with rational activations.

Their rows stand in models.rows.rational, and those of their plain twins.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from conv_kan.layers import GroupRational
from models.blocks import ConvNet

_PLAIN = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU}


class Pixels(nn.Conv2d):
    """y = W x + b over all pixels of images of one size, as a convolution that covers them.

    Shapes: x (B, c_in, size, size) -> y (B, c_out, 1, 1).
    Raises: ValueError for images of another size.
    """

    def forward(self, input: Tensor) -> Tensor:
        size = tuple(self.kernel_size)
        if tuple(input.shape[2:]) != size:
            raise ValueError(
                f"images of {'x'.join(map(str, input.shape[2:]))}: this network takes "
                f"{size[0]}x{size[1]}; make the model with image_size={input.shape[-1]}"
            )
        return super().forward(input)


def build_mlp(*, num_classes: int, input_channels: int, **options: Any) -> ConvNet:
    """logits = W_2 F(W_1 x + b_1) + b_2, F the activation.

    Raises: ValueError for groups that do not divide the hidden features.
    """
    size, hidden = options["image_size"], options["hidden"]
    layer = nn.Sequential(Pixels(input_channels, hidden, size), _activation(options, hidden))
    return ConvNet(
        nn.Sequential(layer),
        partial(nn.Linear, hidden),
        num_classes=num_classes,
        num_features=hidden,
        min_size=size,
        feature_info=[{"num_chs": hidden, "reduction": size, "module": "features.0"}],
    )


def build_cnn(*, num_classes: int, input_channels: int, **options: Any) -> ConvNet:
    """Twice convolution, activation and maximum; then a linear layer, ReLU, and the classifier.

    Raises: ValueError for groups that do not divide the channels of a layer.
    """
    sizes, side = options["layer_sizes"], options["feature_size"]
    features, info = nn.Sequential(), []
    for i, (c_in, c_out) in enumerate(pairwise((input_channels, *sizes))):
        conv = nn.Conv2d(c_in, c_out, 3, padding=1)
        features.append(nn.Sequential(conv, _activation(options, c_out), nn.MaxPool2d(2)))
        info.append({"num_chs": c_out, "reduction": 2 ** (i + 1), "module": f"features.{i}"})
    read = sizes[-1] * side**2
    return ConvNet(
        features,
        partial(_hidden_head, read, options["hidden"]),
        num_classes=num_classes,
        num_features=read,
        feature_shape=(side, side),
        min_size=2 ** len(sizes),
        feature_info=info,
    )


def _hidden_head(features: int, hidden: int, num_classes: int) -> nn.Module:
    ends = nn.Linear(features, hidden), nn.Linear(hidden, num_classes)
    return nn.Sequential(ends[0], nn.ReLU(), ends[1])


def _activation(options: Mapping[str, Any], channels: int) -> nn.Module:
    if "activation" in options:
        return _PLAIN[options["activation"]]()
    groups = options["groups"]
    if channels % groups:
        raise ValueError(
            f"groups={groups} must divide the {channels} channels of a layer; use one of "
            f"{[g for g in range(1, 33) if channels % g == 0]}"
        )
    return GroupRational(groups, options["init"], channels_last=False)
