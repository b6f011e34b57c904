"""What happens to a file between two launches: a bit flips, or its end is lost."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.soak.scenes import Scene


@dataclass
class Damage:
    """A file that was damaged, and what it held."""

    path: Path
    content: bytes
    words: str

    def mend(self) -> None:
        """Give the file its content back, where there still is a place for it."""
        if self.path.parent.is_dir():
            self.path.write_bytes(self.content)

    def is_named_in(self, text: str) -> bool:
        """Whether a message leads to the file: by its name, or by the folder that it is in."""
        return self.path.name in text or str(self.path.parent) in text


def flip(path: Path, rng: random.Random) -> Damage:
    content = path.read_bytes()
    place, bit = rng.randrange(len(content)), rng.randrange(8)
    changed = bytearray(content)
    changed[place] ^= 1 << bit
    path.write_bytes(changed)
    return Damage(path, content, f"bit {bit} of byte {place} of {_name(path)}")


def cut(path: Path, rng: random.Random) -> Damage:
    content = path.read_bytes()
    length = rng.randrange(len(content))
    path.write_bytes(content[:length])
    return Damage(path, content, f"all after byte {length} of {_name(path)}")


DAMAGES: dict[str, Callable[[Path, random.Random], Damage]] = {"flip": flip, "cut": cut}


def _name(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


def files_of_run(run: Path) -> list[Path]:
    """The files of a run directory that a launch may read."""
    kept = [path for path in sorted(run.rglob("*")) if path.is_file()]
    return [path for path in kept if path.suffix != ".png" and path.stat().st_size]


def files_of_data(scene: Scene, data: Path) -> list[Path]:
    return [path for pattern in scene.reads for path in sorted(data.glob(pattern))]


def files_of_cache(cache: Path) -> list[Path]:
    return sorted((cache / "conv_kan").glob("*-*.*"))
