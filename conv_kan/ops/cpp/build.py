"""Compiles the C++ sources at first use, and keeps the libraries for the next time.

A library is named after everything that it depends on: sources, flags, compiler and processor. One
process compiles it and the others wait; it is written under another name and then renamed.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import hashlib
import logging
import os
import platform
import shutil
import tempfile
from pathlib import Path

import torch

from conv_kan.ops.cpp.cache import announce, cache_folder, is_kept, keep, private_folder
from conv_kan.ops.cpp.compiler import CannotCompileError, Wait, compile_library, compiler
from conv_kan.ops.cpp.lock import BuildLock

logger = logging.getLogger("conv_kan")

FLAGS = ("-std=gnu++17", "-O3", "-shared", "-fPIC", "-fno-math-errno", "-fno-trapping-math")
# What a macro says for a dtype.
TYPES = {
    torch.float32: "float",
    torch.float64: "double",
    torch.bfloat16: "kan::BFloat16",
    torch.float16: "kan::Half",
}
Macros = tuple[tuple[str, str], ...]
_HERE = Path(__file__).resolve().parent


def load_library(source: str, macros: Macros) -> ctypes.CDLL:
    """The library of a source file of this folder, compiled with these macros.

    What cannot be had is not tried again in this process.
    Raises: CannotCompileError without a compiler, a place to write to and load from, or success;
    what ends the wait for a compiler (conv_kan.ops.cpp.compiler.while_compiling).
    """
    library = _library(source, macros)
    if isinstance(library, str):
        raise CannotCompileError(library)
    return library


@functools.cache
def _library(source: str, macros: Macros) -> ctypes.CDLL | str:
    """The library, or why there is none."""
    try:
        path = cache_folder() / f"{Path(source).stem}-{_digest(source, macros)}.so"
        library, problem = _look_at(path)
        return library or _made(source, macros, path, say=problem is None)
    except CannotCompileError as error:
        return str(error)
    except OSError as error:
        return f"{error}; {_remedy(error)}"


def _remedy(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "free space there, or set XDG_CACHE_HOME to a folder on another disk."
    return "set XDG_CACHE_HOME to a folder that can be written to."


def _look_at(path: Path) -> tuple[ctypes.CDLL | None, str | None]:
    """The library if it is there and whole; and what is wrong with one that is there and is not."""
    try:
        return (ctypes.CDLL(str(path)) if is_kept(path) else None), None
    except OSError as error:
        return None, str(error)


def _made(source: str, macros: Macros, path: Path, say: bool) -> ctypes.CDLL:
    """The library, compiled by this process or, while this one waits, by another.

    say: that this lasts, where no line about a damaged one says so.
    """
    compiler()  # without one there is nothing to be said of compiling
    if not os.access(path.parent, os.W_OK):
        path = private_folder(f"{path.parent} cannot be written to") / path.name
    if say:
        announce(path.parent)
    with Wait() as wait, BuildLock(path, wait) as lock:
        library, problem = _look_at(path)
        if library is not None:
            return library
        if problem is not None:
            logger.warning("%s; it is compiled again", problem)
        if lock.held:
            _remove_leftovers(path)
        _compile(_HERE / source, macros, path, wait)
    try:
        return ctypes.CDLL(str(path))
    except OSError as error:
        raise CannotCompileError(
            f"{error}; set XDG_CACHE_HOME to a folder that programs may be loaded from."
        ) from error


@functools.cache
def formulas() -> Path:
    """The folder of the formulas: cuda/ in a clone, conv_kan/cuda in an installed package.

    Raises: CannotCompileError if it is neither here nor there.
    """
    places = [_HERE.parents[2] / "cuda", _HERE.parents[1] / "cuda"]
    for place in places:
        if (place / "bases.cuh").exists():
            return place
    raise CannotCompileError(f"bases.cuh is not in {places[0]} or {places[1]}; install again.")


@functools.cache
def _sources() -> bytes:
    files = [*_HERE.glob("*.h"), *formulas().glob("*.cuh")]
    return b"".join(file.read_bytes() for file in sorted(files))


@functools.cache
def processor() -> str:
    """What -march=native looks at."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    found = {line for line in lines if line.lower().startswith(("flags", "features", "model name"))}
    return "\n".join([platform.machine(), platform.processor(), *sorted(found)])


def _digest(source: str, macros: Macros) -> str:
    parts = [_sources(), (_HERE / source).read_bytes()]
    parts += [repr(part).encode() for part in (FLAGS, macros, compiler(), processor())]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:32]


def _compile(source: Path, macros: Macros, target: Path, wait: Wait) -> None:
    """Write the library `target`."""
    logger.info("compiling %s", target.name)
    arguments = [*FLAGS, f"-I{formulas()}", f"-I{_HERE}", str(source)]
    arguments += [f"-D{name}={value}" for name, value in macros]
    with tempfile.TemporaryDirectory(prefix=f".{target.stem}.", dir=target.parent) as folder:
        made = Path(folder) / target.name
        compile_library(arguments, made, wait)
        keep(made, target)


def _remove_leftovers(target: Path) -> None:
    """Remove what a process left that was killed while it compiled; the lock must be held."""
    for folder in target.parent.glob(f".{target.stem}.*"):
        shutil.rmtree(folder, ignore_errors=True)
