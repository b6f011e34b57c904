"""How the tensors of one of our layers are spelled in published state dicts.

Only one direction is written down: from our tensor to the published ones. A published tensor always
holds the numbers of ours in another order, so that loading sends the positions 0, 1, 2, ... of our
tensor through the same rule and reads off where every published number belongs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor, nn

_ATTRIBUTE = "published_layout"


def same(t: Tensor) -> Tensor:
    """t."""
    return t


def channel_major(t: Tensor) -> Tensor:
    """(O, C, K, *kernel) -> (O, C*K, *kernel), index c*K + j."""
    return t.flatten(1, 2)


def basis_major(t: Tensor) -> Tensor:
    """(O, C, K, *kernel) -> (O, K*C, *kernel), index j*C + c."""
    return t.transpose(1, 2).flatten(1, 2)


def inputs_first(t: Tensor) -> Tensor:
    """(out, in, ...) -> (in, out, ...)."""
    return t.transpose(0, 1)


@dataclass(frozen=True)
class Rule:
    """Our tensor `own` is the published tensors `published`, each in this order.

    "{g}" in `published` numbers the groups, whose parts lie one after another in dimension 0 of our
    tensor, and "{o}" the rows of a part. Both names end in "." where they stand for all tensors of
    a module: norms. A tensor without dimensions (a counter) is the same in every group.
    """

    own: str
    published: str
    order: Callable[[Tensor], Tensor] = same

    def write(self, suffix: str, tensor: Tensor, groups: int) -> dict[str, Tensor]:
        """The published tensors of ours, by key; `suffix` follows names that end in "."."""
        pattern = self.published + suffix
        if "{g}" not in pattern:
            return {pattern: self.order(tensor)}
        parts = tensor.chunk(groups) if tensor.dim() else [tensor] * groups
        written = {}
        for g, part in enumerate(parts):
            rows = part.split(1) if "{o}" in pattern else [part]
            for o, row in enumerate(rows):
                written[pattern.format(g=g, o=o)] = self.order(row)
        return written


@dataclass(frozen=True)
class Constant:
    """A published tensor that is none of ours: `value()` on export.

    On loading, `accept` takes it if there is one; otherwise it must equal `value()` unless `dead`.
    """

    key: str
    value: Callable[[], Tensor]
    accept: Callable[[Tensor], None] | None = None
    dead: bool = False


@dataclass(frozen=True)
class Layout:
    """One published spelling of a module: rules for tensors, paths of submodules, constants.

    `groups` is how many parts "{g}" stands for; `scale` multiplies our basis weights in the
    published ones; `warning` is what a user must know who loads weights into this module, `refusal`
    why published weights are another function in it although they fit.
    """

    name: str
    rules: Sequence[Rule] = ()
    children: Mapping[str, str] = field(default_factory=dict)
    constants: Sequence[Constant] = ()
    groups: int = 1
    scale: float = 1.0
    warning: str = ""
    refusal: str = ""


def remember_layout(module: nn.Module, name: str) -> None:
    """Export this module in the layout called `name`."""
    object.__setattr__(module, _ATTRIBUTE, name)


def remembered_layout(module: nn.Module) -> str | None:
    """The layout in which the module was loaded or made, if there is one."""
    return vars(module).get(_ATTRIBUTE)
