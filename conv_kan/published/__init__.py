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

Differences: an unknown keyword is an error, and so is degree=0; l1_decay changes nothing
(published, it is added to the gradients of a network's first layer alone), nor does mixtures'
`train`; KAT_Group's default device is torch's; mlp_relukan's a and b are used; dropout before a
basis acts on x, not on tanh(x), and constant functions are never dropped; the noise of
MoEBottleNeckKAGNConv acts on the input of the functions; FastKANLayer has no time_benchmark; names
are functions, so that isinstance needs the class of what they return. KAN is torch-conv-kan's:
torchkan's has its arguments by keyword, and its state dicts load; efficient-kan's is EfficientKAN.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any

from torch import nn

from conv_kan.published.arguments import Row, make_function
from conv_kan.published.conv import conv_rows
from conv_kan.published.forms import form_rows
from conv_kan.published.linear_rows import layer_rows, network_rows, rational_rows
from conv_kan.published.torchkan import volver_rows


def _rows() -> dict[str, Row]:
    convs = {row.name: row for row in conv_rows()}
    linear = [*layer_rows(), *network_rows(), *rational_rows(), *volver_rows()]
    others = [*form_rows(convs), *linear]
    return convs | {row.name: row for row in others}


_FUNCTIONS: dict[str, Callable[..., nn.Module]] = {
    name: make_function(row, __name__) for name, row in _rows().items()
}


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
    by_lower = {known.lower(): known for known in _FUNCTIONS}
    near = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.5)
    hint = f" did you mean {by_lower[near[0]]!r}?" if near else ""
    return f"{name!r} is no published name;{hint} See conv_kan.published.list_published()."


def __getattr__(name: str) -> Any:
    if name in _FUNCTIONS:
        return _FUNCTIONS[name]
    raise AttributeError(_unknown(name))


def __dir__() -> list[str]:
    return [*globals(), *_FUNCTIONS]
