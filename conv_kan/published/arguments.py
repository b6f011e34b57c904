"""Rows of published names, and functions with their signatures."""

from __future__ import annotations

import difflib
import functools
import inspect
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from conv_kan.layers.norm import NormLike
from conv_kan.ops.maths.activations import ActivationLike, check_activation
from conv_kan.ops.maths.norms import ChannelLayerNorm

Parameter = inspect.Parameter
REQUIRED: Any = Parameter.empty

_IGNORED = "ignored"
_CHANNELWISE = ("BatchNorm", "SyncBatchNorm", "InstanceNorm")


@dataclass(frozen=True)
class Row:
    """A published name: its parameters in their order with their defaults, and who builds it.

    `keywords` were accepted by keyword only, or are ours (legacy). With takes_norm_kwargs, what the
    norm's class takes besides (affine=True) is passed to it. With `ignores`, any other keyword is
    taken and nothing done with it. `build` gets all arguments by name, but for those.
    """

    name: str
    parameters: Mapping[str, Any]
    build: Callable[..., nn.Module]
    keywords: Mapping[str, Any] = field(default_factory=dict)
    takes_norm_kwargs: bool = False
    note: str = ""
    ignores: bool = False

    @property
    def signature(self) -> inspect.Signature:
        parameters = [
            Parameter(name, Parameter.POSITIONAL_OR_KEYWORD, default=default)
            for name, default in self.parameters.items()
        ]
        parameters += [
            Parameter(name, Parameter.KEYWORD_ONLY, default=default)
            for name, default in self.keywords.items()
        ]
        if self.takes_norm_kwargs:
            parameters.append(Parameter("norm_kwargs", Parameter.VAR_KEYWORD))
        if self.ignores:
            parameters.append(Parameter(_IGNORED, Parameter.VAR_KEYWORD))
        return inspect.Signature(parameters, return_annotation=nn.Module)


def make_function(row: Row, module: str) -> Callable[..., nn.Module]:
    """The function called row.name, whose signature is the published one."""
    signature = row.signature

    def published(*args: Any, **kwargs: Any) -> nn.Module:
        _check_keywords(row, kwargs)
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{row.name}{signature}: {error}.") from None
        bound.apply_defaults()
        arguments = dict(bound.arguments)
        if arguments.pop(_IGNORED, None):
            _name_ignored(row, kwargs)
        return row.build(**arguments)

    published.__name__ = published.__qualname__ = row.name
    published.__module__ = module
    published.__doc__ = f"The published arguments in their order. {row.note}".strip()
    published.__signature__ = signature  # type: ignore[attr-defined]
    return published


@functools.cache
def say_once(text: str) -> None:
    """Warn of what a builder does with an argument, once per process, at the line that called it.

    The frames are this function's, the builder's, the published function's and that line's.
    """
    warnings.warn(text, stacklevel=4)


def no_decay(name: str, decay: float) -> str:
    """What a builder says of a published weight decay, which no published layer acts on."""
    return (
        f"{name}={decay} does nothing in the layers; penalize the weights of all of them "
        f"with penalty.l1_decay={decay} of a run, or add {name} * "
        "conv_kan.layers.regularization.l1_weight_norm(model) to your loss."
    )


def _name_ignored(row: Row, kwargs: Mapping[str, Any]) -> None:
    """Say once which keywords a network does nothing with, for one of them may be misspelt."""
    known = [*row.parameters, *row.keywords]
    for name in (name for name in kwargs if name not in known):
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        hint = f" did you mean {near[0]!r}?" if near else ""
        say_once(f"{row.name} takes {name!r} and does nothing with it, as published;{hint}")


def _check_keywords(row: Row, kwargs: Mapping[str, Any]) -> None:
    """Raise TypeError for a keyword that nobody takes, naming the nearest one."""
    if row.ignores:
        return
    known = [*row.parameters, *row.keywords]
    if row.takes_norm_kwargs:
        known += _norm_options(kwargs.get("norm_layer", row.parameters.get("norm_layer")))
    for name in kwargs:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise TypeError(f"{row.name} has no argument {name!r}; {hint}It takes {row.signature}.")


def _norm_options(norm_layer: Any) -> list[str]:
    """What a norm's class takes besides the number of channels."""
    if norm_layer is None:
        return ["affine"]
    if not callable(norm_layer):
        raise TypeError(
            f"norm_layer={norm_layer!r} must be a class or None; pass for example nn.BatchNorm2d."
        )
    return list(inspect.signature(norm_layer).parameters)[1:]


def norm_of(norm_layer: Any, norm_kwargs: Mapping[str, Any], groups: int) -> NormLike:
    """The norm of a layer, as a function of the number of channels; None without one.

    Published layers have one norm per group. Batch and instance norms act on single channels, and
    one for all groups is the same; others are refused for more than one group.
    Raises: ValueError for those.
    """
    if norm_layer is None:
        return None
    name = getattr(norm_layer, "__name__", "")
    if groups > 1 and not name.startswith(_CHANNELWISE):
        raise ValueError(
            f"norm_layer={norm_layer!r} may act across channels, but {groups} groups have a norm "
            "each; pass a batch or an instance norm, or groups=1."
        )
    return lambda channels: norm_layer(channels, **norm_kwargs)


def layer_norm(affine: bool) -> Callable[[int], nn.Module]:
    """What published attention in two dimensions takes for norm_layer=None."""
    return lambda channels: ChannelLayerNorm(channels, elementwise_affine=affine)


def activation_of(value: Any) -> ActivationLike:
    """A base_activation as layers here take it: a name where there are kernels, else a function.

    Published layers call base_activation() for the function: it is a class of modules, or anything
    that makes one without arguments. A name, a module or a function itself will do as well.
    Raises: what check_activation raises.
    """
    if not isinstance(value, str | nn.Module) and _makes_one(value):
        value = value()
    return check_activation("base_activation", value)


def _makes_one(value: Any) -> bool:
    """Whether this is called without arguments, unlike a function of a tensor."""
    try:
        inspect.signature(value).bind()
    except (TypeError, ValueError):  # ValueError: a builtin function that does not tell
        return isinstance(value, type)
    return True
