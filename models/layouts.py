"""Networks in published state dicts: where their parts stand, and what weights do not show.

Importing this file teaches conv_kan.interop the networks of models.network.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from conv_kan.interop.networks import layouts_of
from conv_kan.interop.rules import Layout, Rule
from models.heads import MatryoshkaHead
from models.kinds import KINDS, head_activations
from models.network import Network, Published
from models.rows.unet import LATER_BLOCKS

# Which part of a head is which of the published one, where their numbers differ.
_HEAD_PARTS = {
    "kan": {"1": ""},
    "hidden_kan": {"1": "0", "3": "2"},
    "kantryoshka": {"1": "0", "3": "2"},
}
# Kinds whose published networks take a base_activation, for convolutions and head alike.
_CHOSEN_BASE = ("bspline", "rbf")
# Other kinds whose published KAN heads have an activation, the default of what made them.
_HEADS_WITH_BASE = ("legendre", "gram")
# Kind and form of the layers of published networks.
_PLAIN = {(kind, "plain") for kind in ("bspline", "rbf", "legendre", "chebyshev", "gram")}
_BASELINES = {*_PLAIN, ("wavelet", "plain"), ("gram", "bottleneck_experts")}
_VGGS = {*_BASELINES, ("gram", "bottleneck"), ("gram", "experts")}
_DENSE = {*_PLAIN, ("gram", "bottleneck"), ("gram", "bottleneck_experts")}
_RESIDUAL = {*_DENSE, ("legendre", "experts")}
_MAPS = {*_PLAIN, ("gram", "bottleneck")}
_UNSHOWN = ", which weights do not show; "


def published_baseline(kind: str | None, options: Mapping[str, Any]) -> Published:
    """Of the 4- and 8-layer networks."""
    if kind is None:  # convolution, norm and ReLU in a row, and a dropout elsewhere
        paths = {"head.1": "output"}
        for i in range(len(options["layer_sizes"])):
            paths |= block_parts(f"features.{i}", f"layers.{3 * i}", f"layers.{3 * i + 1}")
        return Published(paths)
    paths = {"features": "layers", **_head_paths(options["head"], "output")}
    if (kind, options["form"]) not in _BASELINES:
        return Published(paths)
    return Published(paths, _other_norm(options), _other_layers(kind, options))


def published_vgg(kind: str | None, options: Mapping[str, Any]) -> Published:
    """Of the VGG networks."""
    paths = {"features": "features", **_head_paths(options["head"], "classifier")}
    if kind is None or (kind, options["form"]) not in _VGGS:
        return Published(paths)
    return _with_layers(paths, kind, options)


def _with_layers(
    paths: dict[str, str], kind: str, options: Mapping[str, Any], head: str = "gelu"
) -> Published:
    """What weights do not show of layers of a kind; `head` is the activation of KAN heads."""
    takes_base = kind in _CHOSEN_BASE
    refusals = [_other_layers(kind, options, free=("base",) if takes_base else ())]
    if options.get("head") in _HEAD_PARTS:
        refusals.append(_other_head(kind, options, head))
    warnings = [_other_norm(options), _other_base(options["base"]) if takes_base else ""]
    return Published(paths, _sentences(warnings), _sentences(refusals))


def _sentences(texts: Iterable[str]) -> str:
    return " ".join(text for text in texts if text)


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


def published_reskanet(kind: str | None, options: Mapping[str, Any]) -> Published:
    """Of the residual networks."""
    stages = {f"features.{i}": f"layer{i}" for i in range(1, 5)}
    paths = {"features.0.0": "conv1", **stages, "head.1": "fc"}
    if kind is None or (kind, options["form"]) not in _RESIDUAL:
        return Published(paths)
    return _with_layers(paths, kind, options)


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
    if kind is None or (kind, plan["form"]) not in _DENSE:
        return Published(paths)
    return _with_layers(paths, kind, plan, head="silu")


def published_residual_unet(
    kind: str | None, lengths: Sequence[int], options: Mapping[str, Any]
) -> Published:
    """Of the residual U-networks; `lengths` are the blocks of their stages."""
    last = len(lengths) - 1
    paths = {"encoder.0.0": "conv1", "head": "output"}
    for s, length in enumerate(lengths):
        for i in range(length):
            paths[f"encoder.{s}.{i + (s == 0)}"] = f"layer{s + 1}e.{i}"
            back = f"encoder.{s}.{length + i}" if s == last else f"decoder.{last - 1 - s}.{i + 1}"
            paths[back] = f"layer{s + 1}d.{i}"
        if s < last:
            paths[f"decoder.{last - 1 - s}.0"] = f"merge{s + 1}"
    if kind is None or (kind, options["form"]) not in _MAPS:
        return Published(paths)
    found = _with_layers(paths, kind, options)
    return replace(found, refusal=_sentences([found.refusal, _other_later(kind, options)]))


def _other_later(kind: str, options: Mapping[str, Any]) -> str:
    """Why weights are another function in the later blocks, which published ones have as they are.

    "" if they are not.
    """
    fixed = LATER_BLOCKS[kind, options["form"]]
    others = {key: value for key, value in fixed.items() if options[key] != value}
    if options["legacy"] or not others:
        return ""
    meant = ", ".join(f"{key}={value!r}" for key, value in others.items())
    return (
        f"all blocks but the first of a stage have {meant} in published networks, whatever these "
        f"were told{_UNSHOWN}make the model with legacy=True."
    )


def published_unet(kind: str | None, options: Mapping[str, Any]) -> Published:
    """Of the U-networks of plain levels, which are published with Gram layers alone."""
    if kind != "gram" or options["form"] not in ("plain", "bottleneck"):
        return Published()
    paths = {"encoder": "encoder", "decoder": "decoder", "head": "output"}
    return _with_layers(paths, kind, options)


def published_u2net(kind: str | None, options: Mapping[str, Any]) -> Published:
    """Of the U2-networks."""
    last = len(options["depths"]) - 1
    paths = {f"encoder.{i}.{1 if i else 0}": f"stage{i + 1}" for i in range(last + 1)}
    paths |= {f"decoder.{i}.0": f"stage{last - i}d" for i in range(last)}
    paths |= {f"head.sides.{i}": f"side{i + 1}" for i in range(last + 1)}
    paths["head.fuse"] = "outconv"
    if kind is None or (kind, options["form"]) not in _MAPS:
        return Published(paths)
    return _with_layers(paths, kind, options)


def published_ukan(kind: str | None, options: Mapping[str, Any]) -> Published:
    """Of U-KAN."""
    if kind not in ("efficient", None):
        return Published()
    count, paths = options["blocks"], {"head": "final"}
    for i in range(3):
        for j in range(2):
            name, at = f"encoder{i + 1}.conv", 3 * j
            paths |= block_parts(f"encoder.{i}.{j}", f"{name}.{at}", f"{name}.{at + 1}")
    for i in range(5):
        for j in range(2):
            name, at = f"decoder{i + 1}.conv", 3 * j
            paths |= block_parts(f"decoder.{i}.convs.{j}", f"{name}.{at}", f"{name}.{at + 1}")
    for i in range(2):
        below, back = f"encoder.{i + 3}", f"decoder.{i}.after"
        paths[f"{below}.0"] = f"patch_embed{i + 3}.proj"
        paths[f"{below}.1"] = f"patch_embed{i + 3}.norm"
        paths |= {f"{below}.{j + 2}": f"block{i + 1}.{j}" for j in range(count)}
        paths |= {f"{back}.{j}": f"dblock{i + 1}.{j}" for j in range(count)}
        paths |= {f"{below}.{count + 2}": f"norm{i + 3}", f"{back}.{count}": f"dnorm{i + 3}"}
    return Published(paths)


def _head_paths(head: str, published: str) -> dict[str, str]:
    """Paths of the parts of a head -> the published ones."""
    parts = _HEAD_PARTS.get(head, {"": ""})
    return {_join("head", own): _join(published, other) for own, other in parts.items()}


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if name else path


def _other_layers(kind: str, options: Mapping[str, Any], free: Collection[str] = ()) -> str:
    """Why published weights are another function in these convolutions; "" if they are not.

    `free` options were arguments of the published network. Legendre layers speak for themselves.
    """
    row = KINDS[kind]
    wanted = {"base": row.base or "none", "activation": row.activation or "none"}
    wanted |= {key: row.basis_defaults[key] for key in ("outer", "squash")
               if key in row.basis_defaults and (kind, key) != ("legendre", "squash")}  # fmt: skip
    others = {k: v for k, v in wanted.items() if k not in free and options[k] != v}
    if not others:
        return ""
    has = " and ".join(f"{key}={options[key]!r}" for key in others)
    meant = ", ".join(f"{key}={value!r}" for key, value in others.items())
    return f"the convolutions have {has}{_UNSHOWN}the published ones have {meant}."


def _other_head(kind: str, options: Mapping[str, Any], default: str) -> str:
    """Why weights of a published KAN head are another function in this one; "" if they are not."""
    wanted = default if kind in _HEADS_WITH_BASE else "none"
    if kind in _CHOSEN_BASE:
        wanted = options["base"]
    found = {value for value in head_activations(kind, options).values() if value != wanted}
    if not found or wanted == "none":
        return ""
    return (
        f"the KAN head has the activation {', '.join(sorted(found))} where the published one has "
        f"{wanted}{_UNSHOWN}make the model with head_activation={wanted!r}."
    )


def _other_base(base: str) -> str:
    """What to say of convolutions whose base function is not the published default."""
    if base == "gelu":
        return ""
    return (
        f"base={base!r}, where the published network has 'gelu' unless it was made with another "
        f"base_activation{_UNSHOWN}it is base='gelu' here."
    )


def _other_norm(options: Mapping[str, Any]) -> str:
    """What to say of a norm whose tensors, or their absence, are those of an instance norm too."""
    norm = options["norm"]
    if norm in ("batch", "instance"):
        return ""
    return (
        f"norm={norm!r}, where published networks have 'batch' or 'instance' unless they were made "
        f"with another norm_layer{_UNSHOWN}see conv_kan.interop.published_norm."
    )


@layouts_of.register
def _network(network: Network, keys: Collection[str]) -> list[Layout]:
    """As in the published network, or as here."""
    twin = network.published
    own = Layout("own", children={name: name for name, _ in network.named_children()})
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
