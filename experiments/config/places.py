"""Where configs and entry scripts lie: at the top of a clone; installed, inside experiments."""

from __future__ import annotations

from pathlib import Path

from experiments.errors import UserError, nearest

_PACKAGE = Path(__file__).resolve().parents[1]
_INSTALLED = (_PACKAGE / "configs").is_dir()
CONFIG_DIR = (_PACKAGE if _INSTALLED else _PACKAGE.parent) / "configs"
SCRIPT_DIR = _PACKAGE / "scripts" if _INSTALLED else _PACKAGE.parent


def entry_names() -> list[str]:
    """The names of the entry scripts, each of which has a config of its name."""
    return sorted(path.stem for path in CONFIG_DIR.glob("*.yaml") if path.stem != "base")


def find_script(name: str) -> Path:
    """The entry script of a name, or the file itself.

    Raises: UserError: there is no such script and no such file -> the names there are.
    """
    path = SCRIPT_DIR / f"{name}.py" if name in entry_names() else Path(name)
    if path.suffix == ".py" and path.is_file():
        return path.resolve()
    names = entry_names()
    raise UserError(
        f"{name} is neither a script of ours nor a file{nearest(name, names) or '.'} "
        f"Type one of {', '.join(names)}, or the path of a script of yours that ends in .py"
    )
