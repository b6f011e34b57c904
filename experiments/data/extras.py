"""Packages that only some datasets need: asked for where they are used, named where absent."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import Any

from experiments.errors import DataError


def import_extra(package: str, for_what: str) -> Any:
    """Return an optional package, or a part of one. Raises: DataError with the line that installs
    it."""
    whole = package.partition(".")[0]
    folder_of_extra(whole, for_what)
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise DataError(
            f"{for_what} needs the package {whole}, which cannot be imported ({error}): type "
            f"python -m pip install --upgrade {whole}"
        ) from error


def folder_of_extra(package: str, for_what: str) -> Path:
    """Return where an optional package lies, without importing it.

    Raises: DataError with the line that installs it.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise DataError(
            f"{for_what} needs the package {package}, which is not installed: type "
            f"python -m pip install {package} (in a clone, make install brings all of them)"
        )
    return Path(spec.origin).parent
