"""What is installed is what lies in the folders, and git carries all of it."""

import subprocess
import sys
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")

ROOT = Path(__file__).resolve().parents[1]
LIBRARIES = ("conv_kan", "models", "experiments")


def test_pyproject_lists_every_package():
    """Listed by hand, so a new folder is easily forgotten: it would be absent where installed."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    found = {
        ".".join(path.relative_to(ROOT).parent.parts)
        for library in LIBRARIES
        for path in (ROOT / library).rglob("__init__.py")
    }
    folders = settings["package-dir"]
    assert set(settings["packages"]) - set(folders) == found
    assert all((ROOT / folder).is_dir() for folder in folders.values())


def test_folders_of_code_are_packages():
    """Without an __init__.py a folder works in a clone and is missing where installed."""
    folders = {path.parent for library in LIBRARIES for path in (ROOT / library).rglob("*.py")}
    assert [str(f) for f in sorted(folders) if not (f / "__init__.py").exists()] == []


def test_git_carries_every_source():
    """A rule of .gitignore such as `runs/` hides a package of that name from every clone."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    tracked = set(listed.stdout.split("\0"))
    sources = [
        str(path.relative_to(ROOT))
        for library in (*LIBRARIES, "tests", "configs")
        for path in (ROOT / library).rglob("*")
        if path.suffix in {".py", ".cpp", ".h", ".cu", ".cuh", ".yaml"}
    ]
    assert len(sources) > 100
    assert sorted(set(sources) - tracked) == []
