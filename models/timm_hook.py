"""Registers our networks with timm once both are imported, in either order.

Importing models loads no timm, which takes seconds: where timm comes later, its import is watched.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType


class _Watch(MetaPathFinder):
    """Finds nothing itself; after timm, which others find, has been imported, it registers."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != "timm":
            return None
        others = [finder for finder in sys.meta_path if finder is not self]
        specs = (finder.find_spec(name, path, target) for finder in others)
        spec = next((spec for spec in specs if spec is not None), None)
        if spec is not None and spec.loader is not None:
            _register_after(spec.loader)
        return spec


def _register_after(loader: Loader) -> None:
    execute = loader.exec_module

    def execute_and_register(module: ModuleType) -> None:
        del loader.exec_module  # the class's own from here on
        sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, _Watch)]
        execute(module)
        _register()

    loader.exec_module = execute_and_register  # type: ignore[method-assign]


def _register() -> None:
    try:
        from models import timm_models  # noqa: F401 - registers them
    except ImportError as error:  # must not stop who imports timm
        warnings.warn(f"networks of models are not registered with timm: {error}", stacklevel=2)


def register_with_timm() -> None:
    """Register all networks with timm: now if it is imported, or else when it is."""
    if "timm" in sys.modules:
        _register()
    elif not any(isinstance(finder, _Watch) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Watch())
