"""Datasets around another one, whose items or targets they change."""

from __future__ import annotations

from typing import Any


class Around:
    """What such datasets share: the length of the base, and all else that it knows: its classes, or
    what a task of one's own asks of it."""

    def __init__(self, base: Any) -> None:
        self.base = base

    def __getattr__(self, name: str) -> Any:
        if name == "base" or name.startswith("__"):  # asked for while a copy is being unpickled
            raise AttributeError(name)
        return getattr(self.base, name)

    def __len__(self) -> int:
        return len(self.base)


class Wrapped(Around):
    """One whose targets are its own, not those that the base offers.

    targets: all targets as this dataset gives them, where they cost no decoding; else None.
    """

    targets: Any = None
    labels: Any = None  # those of the base are of its own kind
    target_transform: Any = None
