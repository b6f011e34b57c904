"""Classifiers of timm and torchvision under the contract of models.blocks, their heads replaceable.

What is loaded under their own names (published weights of these libraries) is loaded by
conv_kan.interop.load_published.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import timm
import torch
import torchvision
from timm.models import adapt_input_conv, group_parameters
from torch import Tensor, nn

from models.blocks import ConvNet
from models.forms import chosen_mlp
from models.heads import Mlp, build_head
from models.network import Published, basis_parameters
from models.options import nearest_names
from models.probe import last_of_every_size, probe
from models.registry import list_models

# What a constructor of torchvision is told so that it returns one output.
_ONE_OUTPUT: dict[str, dict[str, Any]] = {
    "googlenet": {"aux_logits": False, "init_weights": True},
    "inception_v3": {"aux_logits": False, "init_weights": True},
}


@dataclass
class Body:
    """A network without its classifier.

    `classifier` is what it had in its place, at `path` in the network; `feature_info` as ConvNet's,
    with paths inside the network. `aliases`: name of a parameter -> the name that it, or its
    neighbour, had in the library's own network.
    """

    net: nn.Module
    classifier: nn.Module
    path: str
    num_features: int
    feature_info: Sequence[Mapping[str, Any]] = ()
    aliases: Mapping[str, str] = field(default_factory=dict)


class ForeignNet(ConvNet):
    """logits = head(body(x)), the body another library's network without its classifier.

    A network of torchvision does not tell its maps: `forward_features` returns what the classifier
    reads, (B, num_features). Other words are ConvNet's.
    """

    def __init__(
        self, body: Body, make_head: Callable[[int], nn.Module], *, num_classes: int, linear: bool
    ) -> None:
        head = {"head.1": body.path} if linear and body.path else {"head": "head"}
        super().__init__(
            body.net,
            make_head,
            num_classes=num_classes,
            num_features=body.num_features,
            feature_info=[{**i, "module": f"features.{i['module']}"} for i in body.feature_info],
            published=Published({"features": "", **head}),
        )
        self._aliases = dict(body.aliases)
        own = self.get_submodule("head.1") if linear else None
        if isinstance(own, nn.Linear) and _fits(
            body.classifier, own
        ):  # as its library drew or trained it
            self.set_submodule("head.1", body.classifier)

    def forward_features(self, x: Tensor) -> Tensor:
        self._check_size(x)
        forward = getattr(self.features, "forward_features", self.features)
        maps: Tensor = forward(x)
        return maps

    def forward_head(self, maps: Tensor, pre_logits: bool = False) -> Tensor | tuple[Tensor, ...]:
        pool = getattr(self.features, "forward_head", None)
        pooled = maps if pool is None else torch.flatten(pool(maps, pre_logits=True), 1)
        return pooled if pre_logits else self.head(pooled)

    def group_matcher(self, coarse: bool = False) -> Callable[[str], int]:  # type: ignore[override]
        """Return the number of the layer that a parameter is in, as the library groups them."""
        own = [name for name, _ in self.features.named_parameters()]
        plain = {name: self._aliases.get(name, name) for name in own}
        matcher = getattr(self.features, "group_matcher", None)
        if matcher is None:
            layers = in_order(list(plain.values()), depth=1 if coarse else 2)
        else:
            names: Any = _Names(plain.values())  # all that timm asks of a model
            layers = group_parameters(names, matcher(coarse), reverse=True)
        found = {f"features.{name}": layers[plain[name]] for name in own}
        head = max(found.values(), default=0) + 1
        return lambda name: found.get(name, head)

    def no_weight_decay(self) -> set[str]:
        named: set[str] = getattr(self.features, "no_weight_decay", set)()
        return {f"features.{name}" for name in named} | basis_parameters(self)


def build_foreign(
    *, library: str, num_classes: int, input_channels: int, **options: Any
) -> ForeignNet:
    """A network of a library.

    Raises: ValueError for an unknown architecture -> the nearest; for options of a kan head without
        one; for published weights that there are not, or that cannot be fetched.
    """
    body = make_body(library, options["architecture"], num_classes, input_channels, options)
    return with_head(body, num_classes, options)


def with_head(body: Body, num_classes: int, options: Mapping[str, Any]) -> ForeignNet:
    """The network with the head that `options` name."""
    make_head = partial(
        build_head,
        options["head"],
        body.num_features,
        dropout=options["dropout_linear"],
        mlp=chosen_head_layers(options),
    )
    is_linear = options["head"] == "linear"
    return ForeignNet(body, make_head, num_classes=num_classes, linear=is_linear)


def chosen_head_layers(options: Mapping[str, Any]) -> Mlp | None:
    """What makes the layers of a KAN head, its hidden ones included."""
    kind, hidden = options["head_kind"], options["head_sizes"]
    given = {
        name.removeprefix("head_"): options[name]
        for name in ("head_degree", "head_grid_size", "head_spline_order")
    }
    if options["head"] == "linear":
        for name, value in {"sizes": hidden, **given}.items():
            if value is not None:
                raise ValueError(
                    f"head_{name}={value!r} has no effect with head=linear; leave it out, or type "
                    "head=kan"
                )
        return None
    make = chosen_mlp(kind, given, prefix="head_")
    return lambda ends: make([ends[0], *(hidden or ()), *ends[1:]])


# ------------------------------------------------------------------------------------------ bodies
def make_body(
    library: str,
    architecture: str,
    num_classes: int,
    input_channels: int,
    options: Mapping[str, Any],
) -> Body:
    """Make the network, take its classifier off, and change its stem if it is told.

    Without memory, on the device "meta", no weights are fetched.
    """
    on_meta = torch.empty(0).device.type == "meta"
    pretrained = options["pretrained"] and not on_meta
    try:
        body = _MAKERS[library](architecture, num_classes, input_channels, pretrained, options)
    except (OSError, RuntimeError) as error:
        if not pretrained:
            raise
        raise ValueError(
            f"pretrained=true: weights of {architecture} could not be loaded: {error}; type "
            "pretrained=false, or connect to the net once"
        ) from error
    is_small = options["stem"] == "small"
    if is_small:
        _make_small_stem(body.net)
    if is_small or library == "torchvision":
        seen = probe(body.net, input_channels, options.get("image_size"))
        told = [info["module"] for info in body.feature_info]
        body.feature_info = last_of_every_size(seen, told)
    return body


def _timm_body(
    architecture: str,
    num_classes: int,
    input_channels: int,
    pretrained: bool,
    options: Mapping[str, Any],
) -> Body:
    name, _, tag = architecture.partition(".")
    _check_name("timm", name, sorted(set(timm.list_models()) - set(list_models())))
    if tag:
        _check_name("timm", architecture, timm.list_pretrained(f"{name}.*"))
    given = {"img_size": options.get("image_size"), "drop_path_rate": options.get("drop_path")}
    given = {key: value for key, value in given.items() if value is not None}
    try:
        net: Any = timm.create_model(
            architecture,
            pretrained=pretrained,
            num_classes=num_classes,
            in_chans=input_channels,
            **given,
        )
    except TypeError as error:
        raise ValueError(
            f"{architecture} of timm does not take {', '.join(given)}: {error}; leave out "
            "image_size and drop_path"
        ) from error
    classifier, path = net.get_classifier(), net.pretrained_cfg.get("classifier") or ""
    net.reset_classifier(0)
    info = [i for i in getattr(net, "feature_info", []) if isinstance(i, Mapping)]
    features = getattr(net, "head_hidden_size", None) or net.num_features
    return Body(net, classifier, path if isinstance(path, str) else "", features, info)


def _torchvision_body(
    architecture: str,
    num_classes: int,
    input_channels: int,
    pretrained: bool,
    options: Mapping[str, Any],
) -> Body:
    _check_name(
        "torchvision", architecture, torchvision.models.list_models(module=torchvision.models)
    )
    more = {} if pretrained else {**_ONE_OUTPUT.get(architecture, {}), "num_classes": num_classes}
    net = torchvision.models.get_model(
        architecture, weights="DEFAULT" if pretrained else None, **more
    )
    linear = [(n, m) for n, m in net.named_modules() if isinstance(m, nn.Linear)]
    if not linear:
        raise ValueError(
            f"architecture={architecture!r} of torchvision does not end in a linear layer; choose "
            "another network, or one of timm"
        )
    path, classifier = linear[-1]
    net.set_submodule(path, nn.Identity())
    if input_channels != 3:
        _, conv = next(_convolutions(net))
        weight = adapt_input_conv(input_channels, conv.weight.detach())
        conv.weight, conv.in_channels = nn.Parameter(weight), input_channels
    return Body(net, classifier, path, classifier.in_features)


_MAKERS = {"timm": _timm_body, "torchvision": _torchvision_body}


def _check_name(library: str, name: str, known: Sequence[str]) -> None:
    if name not in known:
        close = nearest_names(name, known, 3)
        hint = f"; the nearest are {', '.join(close)}" if close else ""
        raise ValueError(
            f"{name!r} is not known to {library}{hint}; it has {len(known)}, which {library}'s "
            "list_models() names"
        )


def _make_small_stem(net: nn.Module) -> None:
    """The first convolution, where it has a stride, 3x3 without, and no maximum behind it."""
    path, conv = next(_convolutions(net))
    if max(conv.stride) == 1:
        return
    small = nn.Conv2d(conv.in_channels, conv.out_channels, 3, padding=1, bias=conv.bias is not None)
    net.set_submodule(path, small)
    pools = [n for n, m in net.named_modules() if isinstance(m, nn.MaxPool2d)]
    if pools:
        net.set_submodule(pools[0], nn.Identity())


def _convolutions(net: nn.Module) -> Iterator[tuple[str, nn.Conv2d]]:
    return ((n, m) for n, m in net.named_modules() if isinstance(m, nn.Conv2d))


def _fits(module: nn.Module, linear: nn.Linear) -> bool:
    """Whether a classifier is a linear layer of the size of this one."""
    return isinstance(module, nn.Linear) and module.weight.shape == linear.weight.shape


# ---------------------------------------------------------------------------------- layers by name
class _Names:
    """Names in the place of a module, for timm's grouping of its parameters."""

    def __init__(self, names: Any) -> None:
        self.names = list(names)

    def named_parameters(self) -> list[tuple[str, None]]:
        return [(name, None) for name in self.names]


def in_order(names: Sequence[str], depth: int) -> dict[str, int]:
    """Numbers of layers in the order of their names: those that begin with the same children."""
    heads = [tuple(name.split(".")[:depth]) for name in names]
    order = {head: i for i, head in enumerate(dict.fromkeys(heads))}
    return {name: order[head] for name, head in zip(names, heads, strict=True)}
