"""Published names with their published arguments: change the import, keep the code.

    from conv_kan.published import KAGNConv2DLayer, mlp_kagn

Every name is a function with the positional order, keywords and defaults of the published class
(see `list_published` and `inspect.signature`), which returns a layer of this library with the
published norm, initial weights and unscaled basis. `conv_kan.interop` loads published weights into
it. Where a published layer has a defect, these do not; where trained weights depend on the defect,
legacy=True brings it back:

    KALN..., KAL_Net, KAC_Net     x is scaled by the minimum and maximum of the whole batch
    KAGNConv...V2, focal layers   groups read the channels in another order
    RoPE...                       the first token is taken for a class token
    KAT_Group, KAT_Group2D        coefficients that miss gelu, geglu, swishglu, erfc_Softplus_2

docs/differences.md lists every difference with its reason (conv_kan.published.differences has the
rows). KAN is torch-conv-kan's: torchkan's has its arguments by keyword, and its state dicts load;
efficient-kan's is EfficientKAN.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any

from torch import nn

from conv_kan.published.arguments import Row, make_function
from conv_kan.published.attributes import say_where_attributes_are
from conv_kan.published.conv import conv_rows
from conv_kan.published.elsewhere import NETWORKS, find_elsewhere
from conv_kan.published.forms import form_rows
from conv_kan.published.linear_rows import function_rows, layer_rows, network_rows
from conv_kan.published.torchkan import volver_rows


def _rows() -> dict[str, Row]:
    convs = {row.name: row for row in conv_rows()}
    linear = [*layer_rows(), *network_rows(), *function_rows(), *volver_rows()]
    others = [*form_rows(convs), *linear]
    return convs | {row.name: row for row in others}


_FUNCTIONS: dict[str, Callable[..., nn.Module]] = {
    name: make_function(row, __name__) for name, row in _rows().items()
}
__all__ = ["get_published", "list_published", *_FUNCTIONS]


def list_published() -> list[str]:
    """All published names, sorted."""
    return sorted(_FUNCTIONS)


def get_published(name: str) -> Callable[..., nn.Module]:
    """The function of a published name.

    Raises: ValueError for an unknown name -> the nearest one.
    """
    if name not in _FUNCTIONS:
        raise ValueError(_unknown(name))
    return _FUNCTIONS[name]


def _unknown(name: str) -> str:
    """Say where a published name is found that is none of these, or what was meant."""
    where = find_elsewhere(name)
    if where is not None:
        return f"{name!r} is no layer of conv_kan.published: {where}."
    by_lower = {known.lower(): known for known in [*_FUNCTIONS, *NETWORKS]}
    near = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.5)
    hint = f" did you mean {by_lower[near[0]]!r}?" if near else ""
    if near and by_lower[near[0]] in NETWORKS:
        hint += f" Then {find_elsewhere(by_lower[near[0]])}."
    return f"{name!r} is no published name;{hint} See conv_kan.published.list_published()."


def __getattr__(name: str) -> Any:
    if name in _FUNCTIONS:
        return _FUNCTIONS[name]
    raise AttributeError(_unknown(name))


def __dir__() -> list[str]:
    return [*globals(), *_FUNCTIONS]


say_where_attributes_are()
