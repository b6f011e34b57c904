"""A dataset around another one, whose items or targets it changes."""

from __future__ import annotations

from typing import Any


class Wrapped:
    """What such datasets share: the length of the base, and all else that it knows.

    targets: all targets as this dataset gives them, where they cost no decoding; else None.
    """

    targets: Any = None
    labels: Any = None  # those of the base are of its own kind
    target_transform: Any = None

    def __init__(self, base: Any) -> None:
        self.base = base

    def __getattr__(self, name: str) -> Any:
        if name == "base" or name.startswith("__"):  # asked for while a copy is being unpickled
            raise AttributeError(name)
        return getattr(self.base, name)

    def __len__(self) -> int:
        return len(self.base)
