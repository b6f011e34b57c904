"""Our networks in timm's registry: `timm.create_model("reskagnet_18x32p", num_classes=10)`.

Importing this file registers them; models.timm_hook does so where timm and models are imported.
timm's arguments in_chans, drop_rate, drop_path_rate and img_size are the options that they name
here, num_classes=0 takes the head off, and all options of the network are taken besides. A name
that timm has itself stays timm's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import torch
from timm.models import (
    DefaultCfg,
    build_model_with_cfg,
    generate_default_cfgs,
    is_model,
    register_model,
)
from torch import nn

from models.create import create_model
from models.registry import follow, list_models, model_options

_RENAMED = {"drop_rate": "dropout_linear", "drop_path_rate": "drop_path", "img_size": "image_size"}
# What register_model reads: nothing is known of weights, or of images that a network wants.
default_cfgs: dict[str, DefaultCfg] = {}
__all__: list[str] = []


def add(names: Iterable[str]) -> None:
    """Register networks of this library with timm, but for names that timm has itself."""
    new = [name for name in names if not is_model(name)]
    default_cfgs.update(generate_default_cfgs({name: {} for name in new}))
    for name in new:
        globals()[name] = register_model(_entrypoint(name))


def _create(name: str, *, pretrained: bool = False, **arguments: Any) -> nn.Module:
    """What timm calls, through a function of every name.

    Raises: ValueError for pretrained=True where neither timm nor this library has weights, and
        what create_model raises.
    """
    from models.features import feature_net  # which may be what imports timm

    stride = arguments.pop("output_stride", None)
    if stride is not None:
        _check_stride(name, stride, arguments)
    has_source = any(arguments.get(key) for key in ("pretrained_cfg", "pretrained_cfg_overlay"))
    if pretrained and "pretrained" in model_options(name):  # of the network within
        arguments["own_weights"], pretrained = True, False
    if pretrained and not has_source:
        raise ValueError(
            f"pretrained=True: there are no weights of {name} to fetch; leave it out and load "
            "yours, or open a folder or a repository by models.from_pretrained"
        )
    return build_model_with_cfg(
        partial(_build, name),
        name,
        pretrained,
        feature_cfg={"feature_cls": feature_net, "out_indices": None},
        **arguments,
    )


def _check_stride(name: str, stride: int, arguments: Mapping[str, Any]) -> None:
    """Refuse an output_stride that only dilations could give.

    Raises: ValueError, naming the coarsest maps that the network has.
    """
    known = {key: value for key, value in arguments.items() if key in model_options(name)}
    with torch.device("meta"):
        model: Any = create_model(name, num_classes=1, input_channels=3, **known)
    coarsest = max(info["reduction"] for info in model.feature_info)
    if coarsest > stride:
        raise ValueError(
            f"output_stride={stride}: the maps of {name} go down to 1/{coarsest}, and it has no "
            "dilations to stop at; leave it out, or choose a network with smaller strides"
        )


def _build(
    name: str,
    *,
    num_classes: int,
    in_chans: int,
    global_pool: str | None = None,
    own_weights: bool = False,
    **arguments: Any,
) -> nn.Module:
    options = {"pretrained": True} if own_weights else {}
    for key, value in arguments.items():
        ours = _RENAMED.get(key, key)
        if value or key not in _RENAMED or ours in model_options(name):
            options[ours] = value  # a rate of 0 asks for nothing where there is no such option
    model: Any = create_model(
        name, num_classes=num_classes or 1, input_channels=in_chans, **options
    )
    if not num_classes or global_pool:
        model.reset_classifier(num_classes, global_pool)
    return model


def _entrypoint(name: str) -> Callable[..., nn.Module]:
    def create(pretrained: bool = False, **arguments: Any) -> nn.Module:
        return _create(name, pretrained=pretrained, **arguments)

    create.__name__ = create.__qualname__ = name
    create.__doc__ = f"models.create_model({name!r}), with timm's arguments."
    return create


add(list_models())
follow(lambda name: add([name]))
