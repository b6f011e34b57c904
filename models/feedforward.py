"""What stands between two layers of attention in a transformer, in timm's `mlp_layer` place.

timm's blocks call a maker as make(in_features, hidden_features, act_layer, norm_layer, bias, drop,
device, dtype). A feed-forward of learned functions has no use for act_layer and norm_layer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any

import torch
from timm.layers import Mlp
from torch import Tensor, nn

from conv_kan.bases import create_basis
from conv_kan.bases.rational_init import Coefficients, find_rational
from conv_kan.layers import KAN, EfficientKAN, GroupRational
from conv_kan.ops.maths.quadrature import gaussian_mean
from conv_kan.ops.rational import group_rational
from models.kinds import KINDS, chosen_arguments
from models.rows.transformer import FEED_FORWARDS


class RationalMlp(nn.Module):
    """y = W_2 F_2(W_1 F_1(x) + b_1) + b_2, the feed-forward of KAT, with dropout behind each F.

    F are rational functions with a denominator for each group of channels; F_1 begins as x.

    Shapes: x (..., C) -> y (..., C). Parameters: fc1, fc2, act1 and act2 (GroupRational).
    Numerics: as GroupRational.
    Raises: ValueError for groups that do not divide C or the hidden channels.
    Source: Yang and Wang (2024), "Kolmogorov-Arnold Transformer", section 4.
    """

    def __init__(
        self, width: int, hidden: int, *, activation: str, groups: int, bias: bool, drop: float
    ) -> None:
        super().__init__()
        for channels in (width, hidden):
            if channels % groups:
                valid = [g for g in range(1, 33) if width % g == 0 and hidden % g == 0]
                raise ValueError(
                    f"groups={groups} must divide the {width} channels of a token and the {hidden} "
                    f"hidden ones; use one of {valid}"
                )
        self.act1 = GroupRational(groups, "identity")
        self.drop1 = nn.Dropout(drop)
        self.fc1 = nn.Linear(width, hidden, bias=bias)
        self.act2 = GroupRational(groups, activation)
        self.drop2 = nn.Dropout(drop)
        self.fc2 = nn.Linear(hidden, width, bias=bias)

    def init_weights(self) -> None:
        """Draw W such that the variance of normal values is kept; the biases are 0.

        Var(W_i) = 1 / (fan_in E[F_i(z)^2]), z ~ N(0, 1)
        """
        for linear, rational in ((self.fc1, self.act1), (self.fc2, self.act2)):
            std = math.sqrt(1.0 / (linear.in_features * _mean_square(rational.init)))
            nn.init.normal_(linear.weight, std=std)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.fc1(self.drop1(self.act1(x)))
        return self.fc2(self.drop2(self.act2(y)))  # type: ignore[no-any-return]


def _mean_square(init: str | Coefficients) -> float:
    """E[F(z)^2], z ~ N(0, 1), of the rational function that `init` names or is."""
    a, b = (torch.tensor(row, dtype=torch.float64, device="cpu") for row in find_rational(init))
    return gaussian_mean(lambda z: group_rational(z[:, None], a, b[None], True)[:, 0].square())


def feed_forward(name: str, given: Mapping[str, Any], published: bool) -> Callable[..., nn.Module]:
    """What timm's blocks make their feed-forward with: one of FEED_FORWARDS, by its name.

    `given` are the options that are not null. `published`: initial weights of the published code.

    Raises: ValueError for an option that this feed-forward does not have, naming those that do.
    """
    chosen = chosen_arguments(given, FEED_FORWARDS, name, choice="feed_forward")
    make = _MAKERS.get(name)

    def make_layer(
        in_features: int,
        hidden_features: int,
        act_layer: Any = None,
        norm_layer: Any = None,
        bias: bool = True,
        drop: float = 0.0,
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> nn.Module:
        with nullcontext() if device is None else torch.device(device):
            if make is not None:
                layer = make(in_features, hidden_features, chosen, bias, drop)
            else:
                layer = _functions(name, in_features, hidden_features, chosen, drop)
                if published:
                    _draw_as_published(layer)
        return layer.to(dtype)

    return make_layer


def _mlp(width: int, hidden: int, given: Mapping[str, Any], bias: bool, drop: float) -> nn.Module:
    return Mlp(width, hidden, bias=bias, drop=drop)


def _kat(width: int, hidden: int, given: Mapping[str, Any], bias: bool, drop: float) -> nn.Module:
    options = {"activation": "swish", "groups": 8, **given}
    return RationalMlp(width, hidden, bias=bias, drop=drop, **options)


def _efficient(
    width: int, hidden: int, given: Mapping[str, Any], bias: bool, drop: float
) -> nn.Module:
    return EfficientKAN([width, *_between(hidden), width], **given)


_MAKERS: dict[str, Callable[..., nn.Module]] = {"mlp": _mlp, "kat": _kat, "efficient": _efficient}


def _functions(
    name: str, width: int, hidden: int, given: Mapping[str, Any], drop: float
) -> nn.Module:
    """One or two layers of functions of a kind, without norms: the block has one before them."""
    values = dict(given)
    base = values.pop("base", "none")
    basis = create_basis(KINDS[name].basis, **{**KINDS[name].basis_defaults, **values})
    sizes = [width, *_between(hidden), width]
    layer: dict[str, Any] = {"base": None if base == "none" else base}
    layer |= {"norm": None, "activation": None}
    return KAN(sizes, basis=basis, dropout=drop if len(sizes) > 2 else 0.0, **layer)


def _between(hidden: int) -> list[int]:
    """The hidden channels; of a single layer there are none."""
    return [hidden] if hidden else []


def _draw_as_published(layer: nn.Module) -> None:
    """C ~ N(0, 1 / (width (degree + 1))), over functions without a scale."""
    for part in layer.layers:  # type: ignore[union-attr]
        weight = part.basis_weight
        nn.init.normal_(weight, std=math.sqrt(1.0 / weight[0].numel()))
