"""Scripts of users: what is known of one without running it, and its names once it was imported.

A script runs whatever it holds, so that none is imported unasked.
"""

from __future__ import annotations

import ast
import importlib.util
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from experiments.errors import ConfigError, UserError
from experiments.training.tensor_files import sha256_of

WAY = "load_run(path, script=FILE), or --script FILE on a command line"


def import_script(
    script: str | Path, recorded: Mapping[str, Any], say: Callable[[str], Any]
) -> Any:
    """Import a script, once in a process, and say in one line where it has changed since its run.

    recorded: path and sha256 of the run's script, from its manifest; {} where it had none.
    Raises: ConfigError: there is no such file, or it cannot be imported.
    """
    path = Path(script).expanduser().resolve()
    if not path.is_file():
        raise ConfigError(f"script={script}: there is no such file; give the script of the run")
    found = _imported(path)
    if recorded.get("sha256") not in (None, sha256_of(path)):
        say(f"{path} is not as it was when the run began (another SHA-256); it is used as it is")
    return found or _import(path)


def _imported(path: Path) -> ModuleType | None:
    """The module of a file that this process has imported already, or that it runs."""
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if file is not None and Path(file).resolve() == path:
            return module
    return None


def _import(path: Path) -> ModuleType:
    name = f"_script_of_a_run.{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"script={path}: it is no Python file; give the script of the run")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # its dataclasses, and workers that unpickle them, look for it there
    sys.path.insert(0, str(path.parent))  # as `python script.py` does
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        if isinstance(error, UserError):
            raise
        what = f"{type(error).__name__}: {error}"
        raise ConfigError(f"script={path} cannot be imported: {what}") from error
    finally:
        sys.path.remove(str(path.parent))
    return module


def names_its_data(path: Path) -> bool:
    """Whether the data of a script are no more than the dataset that a config names.

    It is read, not run: the scripts of this repository end in load_datasets(cfg.data), and whoever
    brings images of their own changes that; a script that registers a network alone may have no
    get_data, and launches without one.
    """
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError):
        return False
    functions = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "get_data"]
    if not functions:
        return _launches_without_data(tree)
    if len(functions) != 1 or len(functions[0].args.args) != 1:
        return False
    argument = functions[0].args.args[0].arg
    return [ast.unparse(line) for line in functions[0].body if not _is_text(line)] == [
        "from experiments.data import load_datasets",
        f"return load_datasets({argument}.data)",
    ]


def _launches_without_data(tree: ast.Module) -> bool:
    """Whether the one call of launch is given the name of a config alone."""
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    launches = [c for c in calls if ast.unparse(c.func).rpartition(".")[2] == "launch"]
    return len(launches) == 1 and len(launches[0].args) + len(launches[0].keywords) == 1


def _is_text(line: ast.stmt) -> bool:
    return isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant)
