"""What a study trains: a setting is a name and a list of overrides, as a person would type them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b


@dataclass(frozen=True)
class Setting:
    """One run of a study.

    `labels` say what it is, column by column of the CSV; `overrides` of the entry `script` decide
    its result, and `place` where its data lie on this machine.
    """

    labels: Mapping[str, str]
    seed: int
    overrides: tuple[str, ...]
    place: tuple[str, ...] = ()
    script: str = "cifar"

    @property
    def name(self) -> str:
        """The labels, for people."""
        return "/".join(self.labels.values())

    @property
    def folder(self) -> str:
        """The folder of its runs, whatever their seed: other overrides have another."""
        digest = blake2b("\0".join(self.overrides).encode(), digest_size=4)
        return f"{self.name}/{digest.hexdigest()}"

    @property
    def command(self) -> tuple[str, ...]:
        """The entry script and all its overrides."""
        return (f"{self.script}.py", *self.overrides, f"seed={self.seed}", *self.place)
