"""The command kan-images: what it runs, what it says to words that it does not know."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from experiments.__main__ import MODULES, main
from experiments.config.places import entry_names, find_script
from experiments.errors import UserError
from tests.forks import ROOT


@pytest.mark.parametrize("words", [[], ["--help"], ["help"]])
def test_alone_it_names_its_commands(words, capsys):
    assert main(words) == 0
    said = capsys.readouterr().out
    assert all(f"kan-images {name}" in said for name in ("train", *MODULES))


@pytest.mark.parametrize(
    "words, said",
    [
        (["trian", "cifar"], "kan-images trian is no command; did you mean 'train'? Type one of"),
        (["train"], "kan-images train: which script?\nkan-images train cifar|"),
        (["train", "cifr"], "cifr is neither a script of ours nor a file; did you mean 'cifar'?"),
        (["train", "absent.py"], "absent.py is neither a script of ours nor a file. Type one of"),
    ],
)
def test_a_mistake_is_a_sentence_and_code_2(words, said, capsys):
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith(f"error: {said}")


def test_entry_scripts_are_found_by_name_and_files_by_path(tmp_path):
    assert entry_names() == ["cifar", "imagenet", "segmentation", "tiny_imagenet"]
    assert find_script("cifar") == ROOT / "cifar.py"
    (tmp_path / "my.py").touch()
    assert find_script(str(tmp_path / "my.py")) == tmp_path / "my.py"
    with pytest.raises(UserError, match="path of a script of yours"):
        find_script(str(tmp_path))


def test_a_script_runs_as_by_python(tmp_path):
    """By its own name, with its words, and with its folder to import from."""
    (tmp_path / "beside.py").write_text("SAID = 'beside'\n")
    (tmp_path / "my.py").write_text(
        "import sys, beside\nprint(__name__, beside.SAID, sys.argv[1:])\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "experiments", "train", str(tmp_path / "my.py"), "a=1"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "__main__ beside ['a=1']\n")


@pytest.mark.slow
def test_the_wheel_trains_in_an_empty_folder(tmp_path):
    """Configs, entry scripts, C++ sources and kernels are in it."""
    pip = [sys.executable, "-m", "pip", "-q"]
    build = [*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", tmp_path / "wheel", ROOT]
    subprocess.run(build, check=True)
    (wheel,) = (tmp_path / "wheel").iterdir()
    place, empty = tmp_path / "installed", tmp_path / "empty"
    subprocess.run([*pip, "install", "--no-deps", "--target", place, wheel], check=True)
    empty.mkdir()
    words = ["data=digits", "model=simple_conv_kagn", "trainer.epochs=1", "trainer.limit_steps=2"]
    environment = {"PYTHONPATH": str(place), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "experiments", "train", "cifar", *words],
        cwd=empty, capture_output=True, text=True, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (manifest,) = empty.glob("runs/*/*/manifest.json")
    assert str(place / "experiments" / "scripts" / "cifar.py") in manifest.read_text()
    assert '"backend": "cpp"' in manifest.read_text()
    assert Path(manifest.parent / "test.json").exists()
