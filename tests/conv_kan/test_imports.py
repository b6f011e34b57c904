"""Imports point one way: scripts -> experiments -> models -> layers -> bases -> ops."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
SKIPPED = {"tests", "build", "dist", "runs", "outputs", "multirun"}
# A file belongs to the first prefix that fits; a level may import its own and higher numbers.
LEVELS = [
    ("conv_kan.names", 7),
    ("conv_kan.lazy", 7),
    ("conv_kan.ops", 6),
    ("conv_kan.bases", 5),
    ("conv_kan.layers", 4),
    ("conv_kan", 3),
    ("models", 2),
    ("experiments", 1),
    ("", 0),
]
# Which modules may import a library, by the start of their name; a script is any root module.
ALLOWED = {
    "cupy": ("conv_kan.ops.",),
    "cupyx": ("conv_kan.ops.",),
    "accelerate": tuple(f"experiments.{m}" for m in ("training", "runs", "benchmarks", "app")),
    "ray": ("experiments.tuning",),
    "hydra": tuple(f"experiments.{m}" for m in ("app", "tuning", "studies", "config")),
}
ALLOWED["omegaconf"] = ALLOWED["hydra"]
SCRIPTS_MAY = {"hydra", "omegaconf"}
BELOW_TRAINING = {"hydra", "omegaconf", "accelerate", "ray", "experiments", "wandb"}


def modules():
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if parts[0].startswith(".") or parts[0] in SKIPPED or "cuda" in parts[:1]:
            continue
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        yield name, path


def imports(path, name):
    """The absolute names of all modules that a file imports, wherever in the file it does."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    package = name if path.stem == "__init__" else name.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parents, base]).strip(".")
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def level(name):
    return next(n for prefix, n in LEVELS if not prefix or (name + ".").startswith(prefix + "."))


def starts(name, prefixes):
    return any(name == p or name.startswith(p if p.endswith(".") else p + ".") for p in prefixes)


FILES = dict(modules())


@pytest.mark.parametrize("name", FILES)
def test_imports_point_down(name):
    own = name.split(".")[0]
    tops = {n.split(".")[0] for n in FILES if "." in n or FILES[n].stem == "__init__"}
    for imported in imports(FILES[name], name):
        top = imported.split(".")[0]
        if top in tops and imported in FILES:
            assert level(imported) >= level(name), f"{name} must not import {imported}"
        if top in ALLOWED:
            is_script = name == own and level(name) == 0
            allowed = starts(name, ALLOWED[top]) or (is_script and top in SCRIPTS_MAY)
            assert allowed, f"{name} must not import {top}; {', '.join(ALLOWED[top])} may"


def test_only_the_cupy_backend_imports_cupy():
    users = [n for n in FILES if any(i.split(".")[0] == "cupy" for i in imports(FILES[n], n))]
    assert all("cupy" in n.rpartition(".")[2] for n in users), users


def test_the_rules_catch_what_they_should(tmp_path):
    source = tmp_path / "linear.py"
    source.write_text("def f():\n    from ..families import FAMILIES\n    import hydra\n")
    found = set(imports(source, "conv_kan.layers.linear"))
    assert {"conv_kan.families", "conv_kan.families.FAMILIES", "hydra"} <= found
    assert level("conv_kan.families") < level("conv_kan.layers.linear")
    assert level("conv_kan.ops.expand") > level("conv_kan.bases.gram")
    assert not starts("models.blocks", ALLOWED["hydra"])
