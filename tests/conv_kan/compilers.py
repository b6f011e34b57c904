"""Compilers of a few milliseconds, to put in the place of g++, and a library to ask them for."""

from __future__ import annotations

import atexit
import functools
import shutil
import subprocess
import tempfile
from pathlib import Path

from conv_kan.ops.cpp import build
from conv_kan.ops.cpp import compiler as compiler_module

SUCCEED = "succeed"  # a line of a compiler: write the library
_MACROS = (("KAN_STORED", "int"),)


@functools.cache
def _library() -> Path:
    """A library with the one symbol of layout.cpp."""
    folder = Path(tempfile.mkdtemp(prefix="a-library-"))
    atexit.register(shutil.rmtree, folder)
    source, made = folder / "library.c", folder / "library.so"
    source.write_text("int kan_transpose(void) { return 7; }\n")
    subprocess.run(["gcc", "-shared", "-fPIC", str(source), "-o", str(made)], check=True)
    return made


def write_compiler(path: Path, *lines: str) -> Path:
    """A program at `path` that notes a call in PATH.calls and then does these lines of sh.

    $out is what it is to write.
    """
    text = "\n".join(f'cp "{_library()}" "$out"' if line == SUCCEED else line for line in lines)
    path.write_text(
        "#!/bin/sh\n"
        'case "$*" in *--version*) echo 1.0; exit;; esac\n'
        'for word do [ "$last" = -o ] && out="$word"; last="$word"; done\n'
        f'echo "$*" >> "{path}.calls"\n{text}\n'
    )
    path.chmod(0o755)
    return path


def calls(compiler: Path) -> int:
    """How often a compiler was called to compile."""
    file = Path(f"{compiler}.calls")
    return len(file.read_text().splitlines()) if file.exists() else 0


def forget() -> None:
    """As a new process: no compiler is known, no library loaded."""
    compiler_module.compiler.cache_clear()
    build._library.cache_clear()


def load() -> str:
    """Load the library from the cache or the compiler; return its path."""
    forget()
    library = build.load_library("layout.cpp", _MACROS)
    assert library.kan_transpose
    return str(library._name)


def place(cache: Path) -> Path:
    """Where that library is kept under a cache root."""
    return cache / "conv_kan" / f"layout-{build._digest('layout.cpp', _MACROS)}.so"
