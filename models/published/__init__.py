"""Published networks with their published arguments: change the import, keep the code.

    from models.published import reskagnet_18x32p, VGGKAGN

Every name is a function with the positional order, keywords and defaults of the published function
or class (see `list_published` and `inspect.signature`). What it returns computes what the published
network computes from the same weights, which conv_kan.interop loads: norms, unscaled functions,
initial weights, and what weights depend on though it is a defect (Legendre functions of x scaled by
the extremes of the batch; in kagrdnet_... depthwise kernels that read other channels; in ukanet_18
and its kin later blocks that are not as told). The same names in `create_model` are these
networks with the defaults of this library, and without defects.

Networks of mixtures return logits alone; `conv_kan.layers.mixture_penalty(model)` is the published
loss. U2-networks return all maps in training and the first one in eval mode. AutoKAN and
TinyAutoKAGN return the network. docs/differences.md has the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from conv_kan.published.arguments import make_function
from models.published.auto import AutoKAN, tiny_row
from models.published.networks import NETWORKS, unknown

_FUNCTIONS: dict[str, Callable[..., nn.Module]] = {
    **NETWORKS,
    "AutoKAN": AutoKAN,
    "TinyAutoKAGN": make_function(tiny_row(), __name__),
}
__all__ = ["get_published", "list_published", *_FUNCTIONS]


def list_published() -> list[str]:
    """All published names of networks, sorted."""
    return sorted(_FUNCTIONS)


def get_published(name: str) -> Callable[..., nn.Module]:
    """The function of a published name.

    Raises: ValueError for an unknown name -> the nearest ones.
    """
    if name not in _FUNCTIONS:
        raise ValueError(unknown(name, _FUNCTIONS))
    return _FUNCTIONS[name]


def __getattr__(name: str) -> Any:
    if name in _FUNCTIONS:
        return _FUNCTIONS[name]
    if name.startswith("__"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    raise AttributeError(unknown(name, _FUNCTIONS))


def __dir__() -> list[str]:
    return [*globals(), *_FUNCTIONS]
