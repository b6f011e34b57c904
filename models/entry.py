"""A row of the registry: a model's name, its options, and who builds it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

from models.options import Option, advise

if TYPE_CHECKING:
    from torch import nn

    Builder = Callable[..., nn.Module]

# What a network answers to an image (B, C, *S), by what that is for.
TASKS = {
    "classification": "logits (B, num_classes)",
    "segmentation": "logits of every position (B, num_classes, *S)",
}


@dataclass(frozen=True)
class Entry:
    """A model by name.

    `build` is "module:function", imported when a model is made and not before, or the function
    itself. It is called as `build(num_classes=..., input_channels=..., **arguments, **options)`
    with a value for every option. `basis` says whose functions the model learns, and so whose
    options it has; None: it learns none. `has_twins`: a network without a width that is as large
    as its twins. `task` says what it answers: see TASKS.

    Raises: ValueError if two options share a name, and for an unknown task.
    """

    name: str
    build: str | Builder
    options: Sequence[Option]
    basis: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    has_twins: bool = False
    task: str = "classification"

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise ValueError(
                f"model {self.name!r}: task={self.task!r} is not known; {advise(self.task, TASKS)}"
            )
        if len(self.by_name) != len(self.options):
            raise ValueError(f"model {self.name!r}: two options have the same name")

    @cached_property
    def by_name(self) -> dict[str, Option]:
        """The options by their names."""
        return {option.name: option for option in self.options}

    def load(self) -> Builder:
        """Import the builder, and torch with it: build(num_classes, input_channels, **options)."""
        build = resolve_name(self.build) if isinstance(self.build, str) else self.build
        return partial(build, **self.arguments)
