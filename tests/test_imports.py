"""Imports point one way, in no circle, and arguments that belong together travel together."""

import ast
import importlib
import inspect
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SKIPPED = {"tests", "build", "dist", "runs", "outputs", "multirun"}
# A file belongs to the first prefix that fits; a level may import its own and higher numbers.
LEVELS = [
    ("conv_kan.names", 18),
    ("conv_kan.lazy", 18),
    ("conv_kan.ops.maths", 17),
    ("conv_kan.ops.plain", 16),
    ("conv_kan.ops.cpp", 15),
    ("conv_kan.ops.cupy", 15),
    ("conv_kan.ops.backend", 14),
    ("conv_kan.ops", 13),
    ("conv_kan.bases", 12),
    ("conv_kan.layers", 11),
    ("conv_kan", 10),
    ("models", 9),
    ("experiments.errors", 8),
    ("experiments.files", 8),
    ("experiments.machine", 8),
    ("experiments.config", 7),
    ("experiments.tasks.rows", 7),
    ("experiments.data", 6),
    ("experiments.reporting", 6),
    ("experiments.tasks", 5),
    ("experiments.training", 4),
    ("experiments.runs", 3),
    ("experiments.benchmarks", 1),
    ("experiments.evaluate", 0),
    ("experiments.export", 0),
    ("experiments.predict", 0),
    ("experiments.usage", 1),
    ("experiments.studies", 1),
    ("experiments.tuning", 1),
    ("experiments", 2),
    ("", 0),
]
# Which modules may import a library, by the start of their name; a script is any root module.
ALLOWED = {
    "cupy": ("conv_kan.ops.cupy",),
    "cupyx": ("conv_kan.ops.cupy",),
    "accelerate": ("experiments.training", "experiments.runs", "experiments.app"),
    "ray": ("experiments.tuning",),
    "hydra": ("experiments.config", "experiments.app", "experiments.tuning", "experiments.studies"),
}
ALLOWED["omegaconf"] = ALLOWED["hydra"]
SCRIPTS_MAY = {"hydra", "omegaconf"}
MOST_PARAMETERS = 10
PUBLIC_LAYERS = ("conv_kan.layers", "conv_kan.published")


def modules():
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if parts[0].startswith(".") or parts[0] in SKIPPED or "cuda" in parts[:1]:
            continue
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        yield name, path


FILES = dict(modules())


def imports(path, name, files=FILES):
    """The absolute names of all modules that a file imports, wherever in the file it does.

    `from a import b` is a.b where that is a file, and else a.
    """
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
            for alias in node.names:
                full = f"{base}.{alias.name}"
                yield full if full in files else base


def level(name):
    return next(n for prefix, n in LEVELS if not prefix or starts(name, [prefix]))


def starts(name, prefixes):
    return any((name + ".").startswith(prefix + ".") for prefix in prefixes)


def circle(files):
    """The names of files that import each other in a circle, the first one found; or None."""
    graph = {name: set(imports(path, name, files)) & set(files) for name, path in files.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]
    return None


def crowded(path, exempt=()):
    """Functions of a file with more than ten parameters, without self, cls and ctx."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    owners = {f: c.name for c in ast.walk(tree) if isinstance(c, ast.ClassDef) for f in c.body}
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        a = node.args
        named = [p.arg for p in (*a.posonlyargs, *a.args, *a.kwonlyargs, a.vararg, a.kwarg) if p]
        count = len(named) - (named[:1] in (["self"], ["cls"], ["ctx"]))
        name = getattr(node, "name", "lambda")
        public = name == "__init__" and owners.get(node) in exempt
        if count > MOST_PARAMETERS and not public:
            yield f"{path.name}:{node.lineno} {name} has {count} parameters"


def public_layers(name):
    """Classes of a module that users construct: exported by a package of PUBLIC_LAYERS.

    Their constructors list their arguments, which are the documentation, by keyword only.
    """
    found = set()
    for package in map(importlib.import_module, PUBLIC_LAYERS):
        for exported in getattr(package, "__all__", ()):
            value = getattr(package, exported)
            if not inspect.isclass(value) or value.__module__ != name:
                continue
            kinds = [p.kind for p in inspect.signature(value).parameters.values()]
            if kinds.count(inspect.Parameter.POSITIONAL_OR_KEYWORD) <= 3:
                found.add(value.__name__)
    return found


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


def test_compiled_backends_do_not_know_each_other():
    for one, other in (("cpp", "cupy"), ("cupy", "cpp")):
        for name in (n for n in FILES if starts(n, [f"conv_kan.ops.{one}"])):
            assert not any(starts(i, [f"conv_kan.ops.{other}"]) for i in imports(FILES[name], name))


def test_no_files_import_each_other_in_a_circle():
    assert circle(FILES) is None


@pytest.mark.parametrize("name", [n for n in FILES if starts(n, ["conv_kan"])])
def test_functions_take_ten_parameters_at_most(name):
    assert not list(crowded(FILES[name], public_layers(name)))


def write(folder, **sources):
    """Files of a package `a`, by the name of the module."""
    for name, text in sources.items():
        (folder / f"{name}.py").write_text(text)
    return {f"a.{name}": folder / f"{name}.py" for name in sources}


def test_the_rules_catch_what_they_should(tmp_path):
    source = tmp_path / "linear.py"
    source.write_text("def f():\n    from ..families import FAMILIES\n    import hydra\n")
    assert set(imports(source, "conv_kan.layers.linear")) == {"conv_kan.families", "hydra"}
    source.write_text("from conv_kan.ops import plain, BACKENDS\n")
    found = set(imports(source, "conv_kan.ops.cpp.linear"))
    assert found == {"conv_kan.ops", "conv_kan.ops.plain"}
    order = "bases.gram ops.expand_conv ops.backend ops.cpp.expand ops.plain.expand ops.maths.taps"
    levels = [level(f"conv_kan.{name}") for name in order.split()]
    assert levels == sorted(set(levels))
    assert level("conv_kan.families") < level("conv_kan.layers.linear") < levels[0]
    assert level("conv_kan.opsx") == level("conv_kan")
    assert not starts("models.blocks", ALLOWED["hydra"])
    assert not starts("conv_kan.ops.cupyx", ALLOWED["cupy"])


def test_a_circle_is_seen_wherever_its_imports_stand(tmp_path):
    line = write(
        tmp_path, one="from a import two\n", two="from a.three import x\n", three="x = 1\n"
    )
    assert circle(line) is None
    for back in (
        "import a.one\n",
        "def f():\n    from . import one\n",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from a.one import y\n",
    ):
        assert set(circle({**line, **write(tmp_path, three=back)})) == set(line)


def test_crowded_functions_are_counted_without_self(tmp_path):
    ten = ", ".join(f"p{i}" for i in range(9)) + ", *, p9"
    for text, count in (
        (f"def f({ten}): ...", 0),
        (f"def f({ten}, more): ...", 1),
        (f"def f({ten}, **more): ...", 1),
        (f"class L:\n    def f(self, {ten}): ...", 0),
        (f"class L:\n    def __init__(self, {ten}, more): ...", 0),
        (f"class L:\n    def g(self, {ten}, more): ...", 1),
        (f"class M:\n    def __init__(self, {ten}, more): ...", 1),
    ):
        (path,) = write(tmp_path, layer=text).values()
        assert len(list(crowded(path, exempt={"L"}))) == count, text


def test_public_layers_are_those_that_the_package_exports():
    assert public_layers("conv_kan.layers.conv") == {"KANConv"}
    assert public_layers("conv_kan.layers.core") == set()
