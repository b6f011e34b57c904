"""Classifier heads over flat features: linear, the VGG perceptron, KAN, and nested (Matryoshka).

Their names stand in models.rows.common; some need a family that has a fully connected layer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from conv_kan.interop.networks import layers_layout
from conv_kan.interop.rules import remember_layout
from models.kinds import head_activations

Mlp = Callable[[Sequence[int]], nn.Module]


class MatryoshkaHead(nn.Module):
    """logits_m = W[:, :m] x[:, :m] + b for every m of sizes: nested classifiers sharing W and b.

    Shapes: x (B, sizes[-1]) -> tuple of (B, num_classes), one for every size, smallest first.
    Source: Kusupati et al. 2022, Matryoshka Representation Learning, the efficient variant.
    """

    def __init__(self, sizes: Sequence[int], num_classes: int) -> None:
        super().__init__()
        self.sizes = tuple(sizes)
        self.linear = nn.Linear(self.sizes[-1], num_classes)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        weight, bias = self.linear.weight, self.linear.bias
        return tuple(F.linear(x[:, :size], weight[:, :size], bias) for size in self.sizes)


def build_head(
    name: str, features: int, num_classes: int, *, dropout: float, mlp: Mlp | None
) -> nn.Module:
    """Build a head that maps (B, features) to logits (B, num_classes).

    dropout acts before the linear layers; mlp(sizes) builds the KAN layers and is None for a
    network without KAN layers.

    Raises: ValueError for a head unknown or in need of KAN layers where there are none.
    """
    if name in LINEAR_HEADS:
        return nn.Sequential(*LINEAR_HEADS[name](features, num_classes, dropout))
    if name not in KAN_HEADS:
        known = ", ".join([*LINEAR_HEADS, *KAN_HEADS])
        raise ValueError(f"head={name!r} is not known; use {known}")
    if mlp is None:
        raise ValueError(
            f"head={name!r} needs a KAN model; this one has the heads {', '.join(LINEAR_HEADS)}"
        )
    return KAN_HEADS[name](features, num_classes, dropout, mlp)


def with_outer_dropout(head: nn.Module) -> nn.Module:
    """The head "kan" of a network whose published twin has the dropout outside of its KAN."""
    remember_layout(head.get_submodule("1"), layers_layout([0]))
    return head


def head_layers(
    kind: str | None, head: str, mlp: Mlp | None, options: Mapping[str, Any]
) -> Mlp | None:
    """What makes the layers of a KAN head, mlp with the activations of its own; None: nothing does.

    Raises: ValueError for a head_activation without such a head.
    """
    chosen = options.get("head_activation")
    if head in LINEAR_HEADS and chosen is not None:
        raise ValueError(f"head_activation={chosen!r} has no effect with head={head}; leave it out")
    if kind is None or mlp is None:
        return None
    return partial(mlp, **head_activations(kind, options))


def _linear(features: int, num_classes: int, dropout: float) -> list[nn.Module]:
    return [nn.Dropout(dropout), nn.Linear(features, num_classes)]


def _vgg(features: int, num_classes: int, dropout: float) -> list[nn.Module]:
    hidden = [nn.Linear(1024, 1024), nn.ReLU(), nn.Dropout(dropout)]
    return [*_hidden(features, dropout), *hidden, nn.Linear(1024, num_classes)]


def _matryoshka(features: int, num_classes: int, dropout: float) -> list[nn.Module]:
    sizes = (64, 128, 256, 512, 1024)
    return [*_hidden(features, dropout), MatryoshkaHead(sizes, num_classes)]


def _hidden(features: int, dropout: float) -> list[nn.Module]:
    return [nn.Linear(features, 1024), nn.ReLU(), nn.Dropout(dropout)]


def _kan(features: int, num_classes: int, dropout: float, mlp: Mlp) -> nn.Module:
    return nn.Sequential(*_dropped(dropout, mlp([features, num_classes])))


def _hidden_kan(features: int, num_classes: int, dropout: float, mlp: Mlp) -> nn.Module:
    return nn.Sequential(*_kan_hidden(features, dropout, mlp), nn.Linear(512, num_classes))


def _kantryoshka(features: int, num_classes: int, dropout: float, mlp: Mlp) -> nn.Module:
    nested = MatryoshkaHead((32, 64, 128, 256, 512), num_classes)
    return nn.Sequential(*_kan_hidden(features, dropout, mlp), nested)


def _kan_hidden(features: int, dropout: float, mlp: Mlp) -> list[nn.Module]:
    return [*_dropped(dropout, mlp([features, 512])), nn.Dropout(dropout)]


def _dropped(dropout: float, network: nn.Module) -> list[nn.Module]:
    """A dropout and a network of one layer, which published networks number behind the dropout."""
    if dropout > 0:
        remember_layout(network, layers_layout([1]))
    return [nn.Dropout(dropout), network]


LINEAR_HEADS: dict[str, Callable[[int, int, float], list[nn.Module]]] = {
    "linear": _linear,
    "vgg": _vgg,
    "matryoshka": _matryoshka,
}
KAN_HEADS: dict[str, Callable[[int, int, float, Mlp], nn.Module]] = {
    "kan": _kan,
    "hidden_kan": _hidden_kan,
    "kantryoshka": _kantryoshka,
}
