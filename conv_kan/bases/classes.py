"""The class of every basis, by the basis's name."""

from __future__ import annotations

from importlib import import_module

from conv_kan.bases.base import Basis
from conv_kan.bases.rows import ROWS

BASES: dict[str, type[Basis]] = {
    name: getattr(import_module(row.module), row.cls) for name, row in ROWS.items()
}
