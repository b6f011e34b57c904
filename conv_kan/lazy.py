"""Packages that import their names when they are first used: who lists them loads no torch."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any


def lazy_names(
    package: str, origins: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """The functions __getattr__ and __dir__ of a package (PEP 562).

    origins: name -> the module that defines it. No name may be that of a submodule: importing the
    submodule would put it in the name's place. Submodules themselves are found too, as after an
    import of the whole package.
    """
    module = sys.modules[package]

    def get(name: str) -> Any:
        if name in origins:
            value = getattr(import_module(origins[name]), name)
        elif not name.startswith("_") and find_spec(f"{package}.{name}") is not None:
            value = import_module(f"{package}.{name}")
        else:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        setattr(module, name, value)
        return value

    def names() -> list[str]:
        return sorted({*vars(module), *module.__all__})

    return get, names
