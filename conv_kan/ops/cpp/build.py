"""Compiles the C++ sources at first use, and keeps the libraries for the next time.

A library is named after everything that it depends on: sources, flags, compiler and processor. It
is written under another name and then renamed, so that processes that compile the same one at the
same time do not disturb each other.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

import torch

logger = logging.getLogger("conv_kan")

FLAGS = ("-std=gnu++17", "-O3", "-shared", "-fPIC", "-fno-math-errno", "-fno-trapping-math")
# What a macro says for a dtype.
TYPES = {
    torch.float32: "float",
    torch.float64: "double",
    torch.bfloat16: "kan::BFloat16",
    torch.float16: "kan::Half",
}
_HERE = Path(__file__).resolve().parent


class CannotCompileError(RuntimeError):
    """There is no library, for a reason that the message gives."""


@functools.cache
def load_library(source: str, macros: tuple[tuple[str, str], ...]) -> ctypes.CDLL:
    """The library of a source file of this folder, compiled with these macros.

    Raises: CannotCompileError without a compiler, a place to write to and load from, or success.
    """
    path = cache_folder() / f"{Path(source).stem}-{_digest(source, macros)}.so"
    if path.exists():
        try:
            return ctypes.CDLL(str(path))
        except OSError:  # damaged: compile it again
            logger.info("conv_kan: %s cannot be loaded", path.name)
    _compile(_HERE / source, macros, path)
    try:
        return ctypes.CDLL(str(path))
    except OSError as error:
        raise CannotCompileError(
            f"{error}; set XDG_CACHE_HOME to a folder that programs may be loaded from."
        ) from error


def cache_folder() -> Path:
    """Where libraries are kept: conv_kan in $XDG_CACHE_HOME, or in ~/.cache."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(base) / "conv_kan"


@functools.cache
def compiler() -> tuple[str, str]:
    """The path of g++ (or of $CXX) and its version.

    Raises: CannotCompileError if there is none.
    """
    name = os.environ.get("CXX", "g++")
    path = shutil.which(name)
    if path is None:
        raise CannotCompileError(f"there is no C++ compiler {name!r} on the PATH; install g++.")
    try:
        done = subprocess.run([path, "--version"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise CannotCompileError(f"{path} --version failed: {error}; install g++.") from error
    return path, done.stdout


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


def _digest(source: str, macros: tuple[tuple[str, str], ...]) -> str:
    parts = [_sources(), (_HERE / source).read_bytes()]
    parts += [repr(part).encode() for part in (FLAGS, macros, compiler(), processor())]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:32]


def _compile(source: Path, macros: tuple[tuple[str, str], ...], target: Path) -> None:
    """Write the library `target`, tuned to this processor if the compiler can."""
    logger.info("conv_kan: compiling %s", target.name)
    try:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as folder:
            made = Path(folder) / target.name
            command = [compiler()[0], *FLAGS, f"-I{formulas()}", f"-I{_HERE}", str(source)]
            command += [f"-D{name}={value}" for name, value in macros] + ["-o", str(made)]
            for tuning in (["-march=native"], []):
                done = subprocess.run([*command, *tuning], capture_output=True, text=True)
                if done.returncode == 0:
                    made.replace(target)
                    return
    except OSError as error:
        raise CannotCompileError(
            f"{error}; set XDG_CACHE_HOME to a folder that can be written to."
        ) from error
    raise CannotCompileError(f"{command[0]} failed:\n{done.stderr[:2000]}\nUse a newer g++.")
