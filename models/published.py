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
# The activation of the published KAN heads of other kinds, that of the mlp_ functions by default.
_HEAD_BASE = dict.fromkeys(("legendre", "gram"), "gelu")


def published_baseline(head: str) -> Published:
    """Of the 4- and 8-layer networks."""
    return Published({"features": "layers", **_head_paths(head, "output")})


def published_vgg(kind: str | None, options: Mapping[str, Any]) -> Published:
    """Of the VGG networks."""
    paths = {"features": "features", **_head_paths(options["head"], "classifier")}
    if kind is None:
        return Published(paths)
    refusal = _other_head(kind, options) if options["head"] in _HEAD_PARTS else ""
    return Published(paths, _other_base(kind, options), refusal)


def published_kaconvnet(head: str) -> Published:
    """Of KAConvNet; a linear head is not the published one."""
    paths: dict[str, str] = {}
    for i, (conv, norm) in enumerate(((0, 1), (2, 3), (5, 6), (8, 9))):
        paths |= block_parts(f"features.0.{i}", f"stem.block.{conv}", f"stem.block.{norm}")
    for stage in range(1, 5):
        paths[f"features.{2 * stage - 1}"] = f"stage{stage}.blocks"
        for j in range(2 if stage < 4 else 0):
            name = f"downsample{stage + 1}."
            paths |= block_parts(
                f"features.{2 * stage}.{j}", f"{name}{3 * j}", f"{name}{3 * j + 1}"
            )
    if head == "factored":
        return Published({**paths, "head.0": "linear1", "head.2": "linear2"})
    return Published({**paths, "head": "head"})


def published_rdnet(kind: str | None, stages: int, options: Mapping[str, Any]) -> Published:
    """Of RDNet with Gram layers. Attention is numbered among the stages, and not inside them."""
    if kind != "gram":
        return Published()
    attention, blocks = options["attention"], options["blocks"]
    paths = {"features.0.0": "stem.stem.0"}
    for s in range(stages):
        own, other = f"features.{s + 1}", f"dense_stages.{2 * s if attention else s}"
        first = 1 if s else 0
        if s:
            paths[f"{own}.0"] = f"{other}.0"
        for b in range(blocks):
            paths[f"{own}.{first + b}"] = f"{other}.{first}.dense_block{b}"
        if attention:
            paths[f"{own}.{first + blocks}"] = f"dense_stages.{2 * s + 1}"
    if options["head"] == "linear":
        return Published({**paths, "head.0": "head.norm", "head.2": "head.fc"})
    return Published({**paths, "head": "head"})


def block_parts(block: str, conv: str, norm: str) -> dict[str, str]:
    """The parts of a ConvBlock, which published networks have in a row."""
    return {f"{block}.conv": conv, f"{block}.norm": norm}


def _head_paths(head: str, published: str) -> dict[str, str]:
    """Paths of the parts of a head -> the published ones."""
    parts = _HEAD_PARTS.get(head, {"": ""})
    return {_join("head", own): _join(published, other) for own, other in parts.items()}


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if name else path


def _other_head(kind: str, options: Mapping[str, Any]) -> str:
    """Why weights of the published KAN head are another function in this one; "" if they are not.

    Where a published network takes a base_activation, its head has that of the convolutions.
    """
    wanted = options["base"] if kind in _CHOSEN_BASE else _HEAD_BASE.get(kind, "none")
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
