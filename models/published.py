"""Networks in published state dicts: where their parts stand, and what weights do not show.

Importing this file teaches conv_kan.interop the networks of models.blocks.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from conv_kan.interop.layouts import layouts_of
from conv_kan.interop.rules import Layout, Rule
from models.blocks import ConvNet, Published
from models.heads import MatryoshkaHead
from models.kinds import head_activations

# Which part of a head is which of the published one, where their numbers differ.
_HEAD_PARTS = {
    "kan": {"1": ""},
    "hidden_kan": {"1": "0", "3": "2"},
    "kantryoshka": {"1": "0", "3": "2"},
}
_CHOSEN_BASE = ("bspline", "rbf")  # kinds whose published networks take a base_activation
# Other kinds whose published KAN heads have an activation, the default of what made them.
_HEADS_WITH_BASE = ("legendre", "gram")


def published_baseline(head: str) -> Published:
    """Of the 4- and 8-layer networks."""
    return Published({"features": "layers", **_head_paths(head, "output")})


def published_vgg(kind: str | None, options: Mapping[str, Any]) -> Published:
    """Of the VGG networks."""
    paths = {"features": "features", **_head_paths(options["head"], "classifier")}
    if kind is None:
        return Published(paths)
    refusal = _other_head(kind, options, "gelu") if options["head"] in _HEAD_PARTS else ""
    return Published(paths, _other_base(kind, options), refusal)


def published_reskanet(kind: str | None, options: Mapping[str, Any]) -> Published:
    """Of the residual networks."""
    stages = {f"features.{i}": f"layer{i}" for i in range(1, 5)}
    paths = {"features.0.0": "conv1", **stages, "head.1": "fc"}
    return Published(paths, "" if kind is None else _other_base(kind, options))


def published_densekanet(kind: str | None, plan: Mapping[str, Any]) -> Published:
    """Of the dense networks; `plan` holds their options without nulls, and their transitions."""
    paths, index = {"features.0.0": "features.conv0", "head.1": "classifier"}, 1
    for b, length in enumerate(plan["block_config"], start=1):
        layers = {f"features.{index}.{i}": f"denselayer{i + 1}" for i in range(length)}
        paths |= {own: f"features.denseblock{b}.{name}" for own, name in layers.items()}
        index += 1
        if b <= plan["transitions"]:
            paths[f"features.{index}"] = f"features.transition{b}"
            index += 1
    if kind is None:
        return Published(paths)
    refusal = _other_head(kind, plan, "silu") if plan["head"] in _HEAD_PARTS else ""
    return Published(paths, _other_base(kind, plan), refusal)


def _head_paths(head: str, published: str) -> dict[str, str]:
    """Paths of the parts of a head -> the published ones."""
    parts = _HEAD_PARTS.get(head, {"": ""})
    return {_join("head", own): _join(published, other) for own, other in parts.items()}


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if name else path


def _other_head(kind: str, options: Mapping[str, Any], default: str) -> str:
    """Why weights of the published KAN head are another function in this one; "" if they are not.

    Where a published network takes a base_activation, its head has that of the convolutions.
    """
    wanted = default if kind in _HEADS_WITH_BASE else "none"
    if kind in _CHOSEN_BASE:
        wanted = options["base"]
    found = {value for value in head_activations(kind, options).values() if value != wanted}
    if not found or wanted == "none":
        return ""
    return (
        f"the KAN head has the activation {', '.join(sorted(found))} where the published one has "
        f"{wanted}, which weights do not show; make the model with head_activation={wanted!r}."
    )


def _other_base(kind: str, options: Mapping[str, Any]) -> str:
    """What to say of convolutions whose base function is not the published default."""
    base = options["base"]
    if kind not in _CHOSEN_BASE or base == "gelu":
        return ""
    return (
        f"base={base!r}, where the published network has 'gelu' unless it was made with another "
        "base_activation, which weights do not show: it is base='gelu' here."
    )


@layouts_of.register
def _network(network: ConvNet, keys: Collection[str]) -> list[Layout]:
    """As in the published network, or as here."""
    twin = network.published
    own = Layout("own", children={name: name for name in ("features", "head")})
    if not twin.paths:
        return [own]
    published = Layout("published", children=twin.paths, warning=twin.warning, refusal=twin.refusal)
    return [published, own]


@layouts_of.register
def _nested(head: MatryoshkaHead, keys: Collection[str]) -> list[Layout]:
    """The one classifier that all sizes share, by its published name or by ours."""
    return [
        Layout("published", [Rule("linear.", "nesting_classifier_0.")]),
        Layout("own", children={"linear": "linear"}),
    ]
