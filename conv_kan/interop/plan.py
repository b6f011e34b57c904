"""From the tensors of a whole module to their published names, and back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from conv_kan.interop.networks import layouts_of
from conv_kan.interop.rules import Constant, Layout, remembered_layout

_WRAPPERS = ("module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")


@dataclass(frozen=True)
class Entry:
    """Our tensor `own` and how to write it in published names; published = scale * ours."""

    own: str
    write: Callable[[Tensor], dict[str, Tensor]]
    scale: float = 1.0


@dataclass
class Plan:
    """All tensors of a module and the published constants among them, by published name."""

    entries: list[Entry] = field(default_factory=list)
    constants: dict[str, Constant] = field(default_factory=dict)
    warnings: dict[str, str] = field(default_factory=dict)
    refusals: dict[str, str] = field(default_factory=dict)
    layouts: list[tuple[nn.Module, Layout]] = field(default_factory=list)


def make_plan(
    module: nn.Module, names: Mapping[str, str], shapes: Mapping[str, torch.Size] | None = None
) -> Plan:
    """Walk through the module; `shapes` of the published tensors decide where spellings differ."""
    plan = Plan()
    _walk(plan, module, "", names.get("", ""), dict(names), shapes or {})
    return plan


def without_wrappers(key: str) -> str:
    """The key without the parts that wrappers add: L1, DistributedDataParallel, torch.compile."""
    return ".".join(part for part in key.split(".") if part not in _WRAPPERS)


def _walk(
    plan: Plan,
    module: nn.Module,
    own: str,
    published: str,
    names: Mapping[str, str],
    shapes: Mapping[str, torch.Size],
) -> None:
    """Add a module, which is called `own` and `published`, and what is in it."""
    published = published + "." if published else ""
    state = module.state_dict()
    inside = {k.removeprefix(published): s for k, s in shapes.items() if k.startswith(published)}
    options = layouts_of(module, inside)
    if options:
        layout = _choose(options, module, state, inside)
        plan.layouts.append((module, layout))
        _add_layout(plan, layout, state, own, published)
        children = dict(layout.children)
    else:
        for key in state:
            if "." not in key:
                plan.entries.append(Entry(own + key, _rename(published + key)))
        children = {name: name for name, _ in module.named_children()}
    for name, other in children.items():
        given = _given(names, own, name)
        path = without_wrappers(published + other).removesuffix(".") if given is None else given
        _walk(plan, module.get_submodule(name), f"{own}{name}.", path, names, shapes)


def _given(names: Mapping[str, str], own: str, name: str) -> str | None:
    """The path that `names` gives a submodule, or one that it is inside of; None without one."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        outer = names.get(own + ".".join(parts[:end]))
        if outer is not None:
            return ".".join([outer, *parts[end:]])
    return None


def _rename(key: str) -> Callable[[Tensor], dict[str, Tensor]]:
    return lambda tensor: {key: tensor}


def _add_layout(
    plan: Plan, layout: Layout, state: Mapping[str, Tensor], own: str, published: str
) -> None:
    writers = dict(_writers(layout, state))
    inside = tuple(name + "." for name in layout.children)
    for key in state:
        if key in writers:
            write = _prefixed(writers[key], published)
            plan.entries.append(Entry(own + key, write, _scale(layout, key)))
        elif not key.startswith(inside):  # no published layer has it: it keeps its name
            plan.entries.append(Entry(own + key, _rename(published + key)))
    plan.constants |= {published + constant.key: constant for constant in layout.constants}
    for said, text in ((plan.warnings, layout.warning), (plan.refusals, layout.refusal)):
        if text:
            said[own.removesuffix(".") or "the module"] = text


def _scale(layout: Layout, key: str) -> float:
    return layout.scale if key.endswith("basis_weight") else 1.0


def _prefixed(
    write: Callable[[Tensor], dict[str, Tensor]], prefix: str
) -> Callable[[Tensor], dict[str, Tensor]]:
    return lambda tensor: {prefix + key: value for key, value in write(tensor).items()}


def _writers(
    layout: Layout, state: Iterable[str]
) -> list[tuple[str, Callable[[Tensor], dict[str, Tensor]]]]:
    """The tensors of a module that its layout spells, and how."""
    found = []
    for key in state:
        for rule in layout.rules:
            suffix = key.removeprefix(rule.own)
            if key == rule.own or (rule.own.endswith(".") and suffix != key):
                found.append((key, _writer(layout, rule.write, suffix)))
                break
    return found


def _writer(
    layout: Layout, write: Callable[[str, Tensor, int], dict[str, Tensor]], suffix: str
) -> Callable[[Tensor], dict[str, Tensor]]:
    return lambda tensor: write(suffix, tensor, layout.groups)


def _choose(
    options: list[Layout],
    module: nn.Module,
    state: Mapping[str, Tensor],
    shapes: Mapping[str, torch.Size],
) -> Layout:
    """The spelling with the most tensors of these shapes; without any, the one remembered."""
    remembered = remembered_layout(module)
    usual = next((layout for layout in options if layout.name == remembered), options[0])
    if not shapes or len(options) == 1:
        return usual

    def agreement(layout: Layout) -> tuple[int, int]:
        pieces = [p for key, write in _writers(layout, state) for p in write(state[key]).items()]
        present = [(key, piece) for key, piece in pieces if key in shapes]
        children = tuple(other + "." for other in layout.children.values())
        in_children = sum(key.startswith(children) for key in shapes) if children else 0
        fitting = sum(shapes[key] == piece.shape for key, piece in present)
        return fitting + in_children, len(present)

    return max([usual, *options], key=agreement)
