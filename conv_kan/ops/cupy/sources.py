"""The CUDA sources, and which kernel of them to compile."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

PACKAGE = Path(__file__).parents[2]
# An installed package carries the sources; in a clone they lie beside it.
FOLDERS = (PACKAGE / "cuda", PACKAGE.parent / "cuda")
TYPES = {
    torch.float32: "float",
    torch.float64: "double",
    torch.float16: "__half",
    torch.bfloat16: "__nv_bfloat16",
}
_INCLUDE = re.compile(r'^#include "(.+)"$', re.MULTILINE)


@dataclass(frozen=True)
class Kernel:
    """One instance of a kernel: its file, its name with template arguments, its macros."""

    file: str
    expression: str
    macros: tuple[tuple[str, str], ...] = ()

    @property
    def options(self) -> tuple[str, ...]:
        """The compiler's options, besides those that CuPy adds."""
        return ("-std=c++17", *(f"-D{name}={value}" for name, value in self.macros))


def instance(name: str, *arguments: object) -> str:
    """A name expression: instance("f", torch.float16, "int", 4, True) is kan::f<__half, ...>."""
    words = []
    for value in arguments:
        if isinstance(value, torch.dtype):
            words.append(TYPES[value])
        else:
            words.append(str(value).lower() if isinstance(value, bool) else str(value))
    return f"kan::{name}<{', '.join(words)}>"


def sources() -> Path:
    """The folder of the CUDA sources.

    Raises: FileNotFoundError if an installation lacks them.
    """
    for folder in FOLDERS:
        if (folder / "expand.cu").is_file():
            return folder
    raise FileNotFoundError(
        f"no CUDA sources in {' or '.join(map(str, FOLDERS))}; install the package again, or use "
        "backend='torch'."
    )


@cache
def read_source(file: str) -> str:
    """A source with the project's headers written out in place, each once.

    A compiler's cache that looks at this text alone then notices a change in any header.
    """
    return _written_out(file, set())


def _written_out(file: str, seen: set[str]) -> str:
    if file in seen:
        return ""
    seen.add(file)
    text = (sources() / file).read_text(encoding="utf-8")
    parts, end = [f'#line 1 "{file}"\n'], 0
    for match in _INCLUDE.finditer(text):
        parts += [text[end : match.start()], _written_out(match[1], seen)]
        end, line = match.end() + 1, text.count("\n", 0, match.end()) + 2
        parts.append(f'#line {line} "{file}"\n')
    return "".join([*parts, text[end:]])
