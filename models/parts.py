"""The parts of a network that may be frozen or replaced: its head, its learned basis functions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from torch import nn

from models.network import basis_parameters

SAY_HEAD = "give it a method get_classifier() that returns its head, as timm's models have it"


def head_names(model: nn.Module) -> frozenset[str]:
    """The keys of the state of what turns features into outputs; none if the model does not say.

    By timm's contract: the module that get_classifier() returns, one or several, or else the path
    that pretrained_cfg names as `classifier`.
    """
    ask: Any = getattr(model, "get_classifier", None)
    if callable(ask):
        found = ask()
        heads = found if isinstance(found, (tuple, list)) else (found,)
        paths = [path for path, part in model.named_modules() if any(part is h for h in heads)]
    else:
        named = (getattr(model, "pretrained_cfg", None) or {}).get("classifier") or ()
        paths = [named] if isinstance(named, str) else list(named)
    starts = tuple(f"{path}." for path in paths)
    return frozenset(key for key in model.state_dict() if key.startswith(starts))


def learned_shapes(model: nn.Module) -> frozenset[str]:
    """The names of the parameters that are no coefficients, but shape the functions themselves.

    Those of bases (Gram betas, phases, grids that are learned) and what layers list as
    `learned_shapes` (rational functions, wavelets' scales and translations).
    """
    own = {
        f"{path}.{name}" if path else name
        for path, module in model.named_modules()
        for name in getattr(module, "learned_shapes", ())
    }
    known = {name for name, _ in model.named_parameters()}
    return frozenset((own | basis_parameters(model)) & known)


@dataclass(frozen=True)
class Frozen:
    """What no optimizer moves: parameters by name, their numbers, and what is in words."""

    names: tuple[str, ...]
    numbers: int
    words: str


def freeze(model: nn.Module, what: str) -> Frozen:
    """Freeze the body (all but the head) or the bases (all learned shapes) of a network.

    A frozen body computes as in evaluation: its batch norms keep and use the statistics that they
    have, and nothing in it is dropped. Bases have neither, so that freezing them changes no mode.

    Raises: ValueError for a network without such a part, or one that does not say what its head is.
    """
    if what == "none":
        return Frozen((), 0, "")
    parameters = dict(model.named_parameters())
    if what == "bases":
        return _freeze_bases(model, parameters)
    head = head_names(model)
    if not head & parameters.keys():
        raise ValueError(
            f"freeze=body: {type(model).__name__} does not say which of its parts is the head, "
            f"which alone would be trained; {SAY_HEAD}, or type model.freeze=none"
        )
    names = [name for name in parameters if name not in head]
    numbers = _stop(parameters, names)
    around = {key[:place] for key in head for place, sign in enumerate(key) if sign == "."}
    for path, module in model.named_modules():
        if path and path not in around and _has_state(module):
            module.is_frozen = True  # type: ignore[assignment]
    words = "all but the head; its batch norms keep their statistics, and nothing in it is dropped"
    return Frozen(tuple(names), numbers, words)


def _freeze_bases(model: nn.Module, parameters: dict[str, nn.Parameter]) -> Frozen:
    names = sorted(learned_shapes(model))
    if not names:
        raise ValueError(
            f"freeze=bases: the functions of {type(model).__name__} have no shape that is learned; "
            "type model.freeze=none, or body for all but the head"
        )
    return Frozen(tuple(names), _stop(parameters, names), "the learned shapes of its functions")


def _stop(parameters: dict[str, nn.Parameter], names: Iterable[str]) -> int:
    """Take parameters from the optimizer; return how many numbers they are."""
    numbers = 0
    for name in names:
        parameters[name].requires_grad_(False)
        numbers += parameters[name].numel()
    return numbers


def _has_state(module: nn.Module) -> bool:
    return next(module.parameters(), None) is not None or next(module.buffers(), None) is not None


def train_unfrozen(model: nn.Module) -> None:
    """Training mode, but for what is frozen."""
    model.train()
    for module in model.modules():
        if getattr(module, "is_frozen", False):
            module.eval()
