"""Packages that import their names at first use."""

import importlib
import pkgutil
import sys

import pytest

import conv_kan
import conv_kan.bases


@pytest.mark.parametrize("package", [conv_kan, conv_kan.bases])
def test_every_public_name_is_there(package):
    for name in package.__all__:
        assert getattr(package, name) is not None
    assert set(package.__all__) <= set(dir(package))


@pytest.mark.parametrize("package", [conv_kan, conv_kan.bases])
def test_no_name_is_that_of_a_submodule(package):
    """Whoever imports the submodule would put it in the name's place."""
    modules = {module.name for module in pkgutil.iter_modules(package.__path__)}
    assert modules and not modules & set(package.__all__)


def test_a_name_that_is_not_there():
    with pytest.raises(AttributeError, match="module 'conv_kan' has no attribute 'KANConf'"):
        conv_kan.KANConf  # noqa: B018
    with pytest.raises(ImportError, match="KANConf"):
        from conv_kan import KANConf  # noqa: F401


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package with one lazy name, from a module beside another one."""
    (tmp_path / "lazily").mkdir()
    source = "from conv_kan.lazy import lazy_names\n__all__ = ['Thing']\n"
    source += "__getattr__, __dir__ = lazy_names(__name__, {'Thing': 'lazily.things'})\n"
    (tmp_path / "lazily" / "__init__.py").write_text(source)
    (tmp_path / "lazily" / "things.py").write_text("class Thing: pass\n")
    (tmp_path / "lazily" / "other.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("lazily")
    for name in [n for n in sys.modules if n.split(".")[0] == "lazily"]:
        del sys.modules[name]


def test_modules_are_imported_when_their_names_are_used(package):
    assert "Thing" in dir(package)
    assert not {"lazily.things", "lazily.other"} & sys.modules.keys()
    assert package.Thing is sys.modules["lazily.things"].Thing
    assert "lazily.other" not in sys.modules
    assert package.other is sys.modules["lazily.other"]
