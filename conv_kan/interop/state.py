"""Published state dicts into our modules, and back."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from conv_kan.interop.norms import published_norm
from conv_kan.interop.plan import Entry, Plan, make_plan, without_wrappers
from conv_kan.interop.rules import remember_layout

_COUNTER = "num_batches_tracked"
_SHOWN = 12


class LoadResult(NamedTuple):
    """Keys that found no partner: (published, own) of every missing tensor, and unexpected keys."""

    missing: list[tuple[str, str]]
    unexpected: list[str]


def load_published(
    module: nn.Module,
    state_dict: Mapping[str, Tensor],
    strict: bool = True,
    *,
    names: Mapping[str, str] | None = None,
) -> LoadResult:
    """Copy published weights into `module`, a layer of this library or a model made of them.

    Published names are accepted in every spelling: with parts of wrappers ("module" of L1 and
    DistributedDataParallel, "_orig_mod" of torch.compile), with indices shifted by dropouts
    (layers.1 for layers.0), one module per group, the three versions of WavKAN, the two of KAGN,
    torchkan's lists of weights. Weights are divided by the scale of the
    basis, so that the function is the published one also for scale="unit". What is in no layer of
    this library (nn.Linear, norms) keeps its name; those of `models` know their published paths.
    `names` says where other paths differ: our path -> the published one, for example
    {"body": "layers", "head": "classifier"}.

    Nothing is copied if something is wrong.
    Raises: ValueError for other shapes, both named, whatever `strict` is; for constants (grids)
    that differ from the module's; for a model that computes something else from such weights than
    the published one; for keys that differ only in wrappers; for missing or unexpected keys if
    `strict`. TypeError for values that are no tensors.
    Warns: where published weights were trained with a defect that this module does not have.
    """
    found = _plain_keys(state_dict)
    plan = make_plan(module, names or {}, {key: value.shape for key, value in found.items()})
    values, missing, wrong = _collect(plan, module.state_dict(), found)
    wrong += _wrong_constants(plan, found)
    if wrong:
        raise ValueError("\n  ".join([f"{len(wrong)} published tensors do not fit:", *wrong]))
    _refuse(plan, "these weights fit, but are another function in this module")
    known = {key for entry in plan.entries for key in _keys(entry, module.state_dict())}
    unexpected = [key for key in found if key not in known and key not in plan.constants]
    if strict and (missing or unexpected):
        raise ValueError(_describe(missing, unexpected) + _norm_hint(missing, unexpected, found))
    _copy(module, plan, values, found)
    for name, text in plan.warnings.items():
        warnings.warn(f"{name}: {text}", stacklevel=2)
    return LoadResult(missing, unexpected)


def export_published(
    module: nn.Module, *, names: Mapping[str, str] | None = None
) -> dict[str, Tensor]:
    """The state of `module` under published names, as the published layer would write it.

    The inverse of load_published, bit for bit (unless the basis has scale="unit": then up to the
    rounding of one product); a module that was loaded keeps the spelling of what was loaded, but
    for the parts of wrappers. Tensors are copies. Knots that nothing learns are the module's, each
    rounded once: published ones, summed in float32, may differ in the last bits.
    Raises: ValueError where the published module of these weights would compute something else.
    """
    plan, state = make_plan(module, names or {}), module.state_dict()
    _refuse(plan, "the published module would compute something else from these weights")
    written = _write(plan, {e.own: state[e.own].detach() for e in plan.entries}, scaled=True)
    constants = {key: constant.value() for key, constant in plan.constants.items()}
    return {key: value.clone().contiguous() for key, value in (written | constants).items()}


def published_names(
    module: nn.Module, tensors: Mapping[str, Tensor], *, names: Mapping[str, str] | None = None
) -> dict[str, Tensor]:
    """Tensors by our names (gradients, averages) under published names, in published order.

    Raises: KeyError for a name that is not in the module's state.
    """
    plan = make_plan(module, names or {})
    known = {entry.own for entry in plan.entries}
    for name in tensors:
        if name not in known:
            raise KeyError(f"{name!r} is no tensor of {type(module).__name__}'s state.")
    return _write(plan, tensors, scaled=False)


def _write(plan: Plan, tensors: Mapping[str, Tensor], scaled: bool) -> dict[str, Tensor]:
    written: dict[str, Tensor] = {}
    for entry in plan.entries:
        if entry.own in tensors:
            tensor = tensors[entry.own]
            factor = entry.scale if scaled else 1.0
            written |= entry.write(tensor if factor == 1.0 else tensor * factor)
    return written


def _refuse(plan: Plan, what: str) -> None:
    """Raise ValueError where the module is not the function that its published weights are of."""
    if plan.refusals:
        reasons = "; ".join(f"{name}: {text}" for name, text in plan.refusals.items())
        raise ValueError(f"{what}: {reasons}")


def _plain_keys(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors by their keys without wrappers."""
    found: dict[str, Tensor] = {}
    for key, value in state_dict.items():
        if not isinstance(value, Tensor):
            raise TypeError(
                f"state_dict[{key!r}] is {type(value).__name__}, not a tensor; pass the state dict "
                "inside the checkpoint, for example checkpoint['state_dict']."
            )
        plain = without_wrappers(key)
        if plain in found:
            raise ValueError(f"two keys of the state dict mean {plain!r}; remove one of them.")
        found[plain] = value.detach()
    return found


def _keys(entry: Entry, state: Mapping[str, Tensor]) -> list[str]:
    return list(entry.write(state[entry.own]))


def _collect(
    plan: Plan, state: Mapping[str, Tensor], found: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], list[tuple[str, str]], list[str]]:
    """Our tensors made of published ones, what is missing for them, what has another shape."""
    values: dict[str, Tensor] = {}
    missing: list[tuple[str, str]] = []
    wrong: list[str] = []
    for entry in plan.entries:
        target = state[entry.own]
        places = entry.write(torch.arange(target.numel()).view(target.shape))
        absent = [key for key in places if key not in found]
        missing += [(key, entry.own) for key in absent if not key.endswith(_COUNTER)]
        misfits = [k for k, p in places.items() if k in found and found[k].shape != p.shape]
        wrong += [_misfit(k, found[k], places[k], entry.own, target) for k in misfits]
        if not absent and not misfits:
            flat = torch.empty(target.numel(), dtype=target.dtype)
            for key, place in places.items():
                flat[place.flatten()] = found[key].flatten().to("cpu", target.dtype)
            value = flat.view(target.shape)
            values[entry.own] = value if entry.scale == 1.0 else value / entry.scale
    return values, missing, wrong


def _misfit(key: str, got: Tensor, place: Tensor, own: str, target: Tensor) -> str:
    return (
        f"{key} has shape {tuple(got.shape)} but must have {tuple(place.shape)} for {own} of shape "
        f"{tuple(target.shape)}; make the module with the arguments of the published one."
    )


def _wrong_constants(plan: Plan, found: Mapping[str, Tensor]) -> list[str]:
    """Constants of another shape or value than this module's."""
    wrong = []
    for key, constant in plan.constants.items():
        if key not in found or constant.dead:
            continue
        mine, got = constant.value(), found[key].cpu()
        if mine.shape != got.shape:
            wrong.append(
                f"{key} has shape {tuple(got.shape)} but must have {tuple(mine.shape)}; make the "
                "module with the arguments of the published one."
            )
        elif constant.accept is None and not torch.allclose(mine.double(), got.double(), atol=1e-5):
            wrong.append(
                f"{key} differs from this module's, which begins {mine.flatten()[:4].tolist()} "
                f"instead of {got.flatten()[:4].tolist()}; make it with the published grid."
            )
    return wrong


def _describe(missing: list[tuple[str, str]], unexpected: list[str]) -> str:
    """Missing and unexpected keys as a text."""
    lines = []
    for label, keys in (
        ("missing", [f"{key} (here {own})" for key, own in missing]),
        ("unexpected", unexpected),
    ):
        if keys:
            more = f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
            lines.append(f"{label}: {', '.join(keys[:_SHOWN])}{more}")
    return "; ".join(lines) + "; pass names={our path: published path}, or strict=False."


def _norm_hint(
    missing: list[tuple[str, str]], unexpected: list[str], found: Mapping[str, Tensor]
) -> str:
    """The norm to make the module with, if its tensors are among those without a partner."""
    if not any("layer_norm." in key for key in [*unexpected, *(key for key, _ in missing)]):
        return ""
    options = ", ".join(f"{key}={value!r}" for key, value in published_norm(found).items())
    return f" The convolutions of these weights had {options} (see published_norm)."


def _copy(
    module: nn.Module, plan: Plan, values: Mapping[str, Tensor], found: Mapping[str, Tensor]
) -> None:
    state = module.state_dict()
    with torch.no_grad():
        for own, value in values.items():
            state[own].copy_(value)
    for key, constant in plan.constants.items():
        if constant.accept is not None and key in found:
            constant.accept(found[key])
    for part, layout in plan.layouts:
        remember_layout(part, layout.name)
