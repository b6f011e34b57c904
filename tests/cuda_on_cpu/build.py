"""Compiles a CUDA source for the CPU: the unchanged file, behind device.h, with its runtime."""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import subprocess
import sysconfig
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from conv_kan.ops.cpp.build import processor

HERE = Path(__file__).parent
CACHE = HERE.parent.parent / "build" / "cuda_on_cpu"
# Hooks at every access (checker.cpp), and no undefined arithmetic.
CHECK = ("-fsanitize=thread,undefined", "-fno-sanitize-recover=undefined", "-g1")
# a * b + c is rounded once, as NVRTC has it, where this processor can.
CONTRACT = ("-ffp-contract=fast", "-march=native", "-fexpensive-optimizations")
KERNEL = ("-O1", *CONTRACT, "-Wno-unknown-pragmas")
BASE = ("-std=c++17", "-fPIC", "-w", "-D__CUDA_ON_CPU__")


@cache
def include_options() -> tuple[str, ...]:
    """Where the wheels keep CUDA's headers."""
    site = Path(sysconfig.get_paths()["purelib"])
    folders = (
        "nvidia/cu13/include",
        "triton/backends/nvidia/include",
        "cupy/_core/include/cupy/_cccl/libcudacxx",
    )
    return tuple(f"-isystem{site / folder}" for folder in folders)


def compiler() -> str:
    return os.environ.get("CXX", "g++")


def compile_kernels(
    source: Path, names: Sequence[str], macros: Sequence[tuple[str, str]], checked: bool
) -> Path:
    """A shared library with one entry per name expression of the source, compiled once."""
    entries = "".join(
        f'extern "C" const char* shim_kernel_{i}(const ShimLaunch* l, void** a, const char* t) '
        f"{{ return shim::launch(&{name}, l, a, t); }}\n"
        for i, name in enumerate(names)
    )
    defines = [f"-D{name}={value}" for name, value in macros]
    flags = [*KERNEL, *(CHECK if checked else ())]
    text = f'#include "{source}"\n{entries}'
    key = _hash(text, processor(), *defines, *flags, *_contents(source.parent, HERE))
    library = CACHE / f"{source.stem}-{key}.so"
    with _lock():
        if not library.exists():
            unit = CACHE / f"{source.stem}-{key}.cpp"
            unit.write_text(text, encoding="utf-8")
            header = _precompiled_header(flags)
            kernel = _compile(unit, [*flags, *defines, "-include", str(header)])
            parts = [_runtime("scheduler.cpp"), _runtime("checker.cpp")]
            _run("-shared", str(kernel), *map(str, parts), *_link(checked), "-o", f"{library}.new")
            os.replace(f"{library}.new", library)
    return library


def edited_copy(folder: Path, edits: Sequence[tuple[str, str, str]]) -> Path:
    """A copy of sources in which (file, text, other text) are replaced once."""
    files = {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.cu*")}
    for file, text, other in edits:
        if files[file].count(text) != 1:
            raise ValueError(f"{file} has {files[file].count(text)} places with {text!r}; want 1.")
        files[file] = files[file].replace(text, other)
    copy = CACHE / f"edited-{_hash(*sorted(files.values()))}"
    copy.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        part = copy / f"{name}.{os.getpid()}"  # another process may be reading
        part.write_text(text, encoding="utf-8")
        part.replace(copy / name)
    return copy


def _link(checked: bool) -> list[str]:
    return ["-fsanitize=undefined"] if checked else []


def _precompiled_header(flags: Sequence[str]) -> Path:
    """device.h, parsed once for all kernels with these flags."""
    folder = CACHE / f"header-{_hash(processor(), *flags, *_contents(HERE))}"
    header, compiled = folder / "device.h", folder / "device.h.gch"
    if not compiled.exists():
        folder.mkdir(parents=True, exist_ok=True)
        header.write_text(f'#include "{HERE / "device.h"}"\n', encoding="utf-8")
        _run("-x", "c++-header", str(header), *flags, *include_options(), "-o", f"{compiled}.new")
        os.replace(f"{compiled}.new", compiled)
    return header


def _runtime(name: str) -> Path:
    """Scheduler or checker, which must not be instrumented."""
    key = _hash(name, *_contents(HERE))
    target = CACHE / f"{name}-{key}.o"
    if not target.exists():
        _run("-O2", "-c", str(HERE / name), *include_options(), "-o", f"{target}.new")
        os.replace(f"{target}.new", target)
    return target


def _compile(unit: Path, flags: Sequence[str]) -> Path:
    target = unit.with_suffix(".o")
    _run(*flags, *include_options(), "-c", str(unit), "-o", str(target))
    return target


def _run(*arguments: str) -> None:
    done = subprocess.run(
        [compiler(), *BASE, *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{compiler()} {' '.join(arguments)}\n{done.stderr}")


def _contents(*folders: Path) -> list[str]:
    """The text of every source in these folders."""
    files = [
        path
        for folder in folders
        for path in sorted(folder.iterdir())
        if path.suffix in (".cu", ".cuh", ".h", ".cpp")
    ]
    return [path.read_text(encoding="utf-8") for path in files]


def _hash(*parts: str) -> str:
    joined = "\0".join((compiler(), platform.machine(), *BASE, *parts))
    return hashlib.sha256(joined.encode()).hexdigest()[:20]


class _lock:  # noqa: N801
    """One process compiles at a time; the others find its results."""

    def __enter__(self) -> None:
        CACHE.mkdir(parents=True, exist_ok=True)
        self._file = (CACHE / "lock").open("w")
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def __exit__(self, *exception: object) -> None:
        self._file.close()
