"""load_run: a network and all that its use needs from one path; what is wrong is a sentence."""

from __future__ import annotations

import json
import logging
import shutil
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from experiments.errors import CheckpointError, ConfigError, UserError
from experiments.usage import load_run
from models import from_pretrained, save_pretrained
from tests import forks
from tests.experiments.conftest import TINY


def test_a_run_its_weights_and_a_hub_folder_are_one_network(runs, tmp_path: Path) -> None:
    run = load_run(runs("kagn"))
    save_pretrained(run.model, tmp_path / "hub", run.description)
    images = torch.rand(3, 1, 16, 16)
    with torch.no_grad():
        expected = run.model(images)
        for path in (runs("kagn") / "best.safetensors", tmp_path / "hub"):
            other = load_run(path)
            assert torch.equal(other.model(images), expected)
            assert other.class_names == tuple("0123456789") and not other.model.training
        assert torch.equal(from_pretrained(tmp_path / "hub")(images), expected)
    assert run.task == "classification" and run.description.input_shape == (1, 16, 16)
    assert load_run(runs("masks")).class_names[0] == "background"


def test_neither_data_nor_pickles_nor_other_files_are_read(runs) -> None:
    code = textwrap.dedent(f"""
        import pickle, runpy, torch, importlib.util
        def refuse(*args, **kwargs): raise AssertionError("not asked for")
        import experiments.data.sources as sources
        sources.load_datasets = sources.load_digits = torch.load = pickle.load = refuse
        pickle.Unpickler = pickle.loads = importlib.util.spec_from_file_location = refuse
        from experiments.usage import load_run
        run = load_run({str(runs("kat"))!r})
        print(run.model(torch.zeros(2, 1, 16, 16)).shape)
    """)
    (done,) = forks.run("-c", code)
    assert done.stdout == "torch.Size([2, 10])\n", done.stderr


# ---------------------------------------------------------------------------------------- mistakes
def damage(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], Path]:
    def go(run: Path) -> Path:
        file = run / name
        file.write_bytes(change(file.read_bytes()))
        return run

    return go


def changed(name: str, **values: object) -> Callable[[Path], Path]:
    """Give the manifest of the run, or what its weights say of it, other values."""

    def go(run: Path) -> Path:
        manifest = json.loads((run / "manifest.json").read_text())
        manifest.pop("best_sha256")
        described = manifest["description"] | values
        if name == "manifest.json":
            manifest |= values
        (run / "manifest.json").write_text(json.dumps(manifest))
        note = json.dumps({"weights": "", "description": described})
        best = run / "best.safetensors"
        save_file(load_file(best), best, metadata={"note": note})
        return run

    return go


def without_description(run: Path) -> Path:
    changed("manifest.json", description=None)(run)
    save_file(load_file(run / "best.safetensors"), run / "best.safetensors")
    return run


def without_weights(run: Path) -> Path:
    (run / "best.safetensors").unlink()
    return run


def other_tensors(run: Path) -> Path:
    changed("best.safetensors")(run)
    best = run / "best.safetensors"
    from safetensors import safe_open

    with safe_open(best, "pt") as file:
        note = file.metadata()
    tensors = load_file(best)
    first = next(iter(tensors))
    save_file({"x": tensors.pop(first), **tensors}, best, metadata=note)
    return run


def a_bit(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


MISTAKES: dict[str, tuple[Callable[[Path], Path], type[UserError], str]] = {
    "absent": (lambda run: run / "absent", ConfigError, "does not exist: give a run directory"),
    "no run": (lambda run: run.parent, ConfigError, "a run lies in it: give "),
    "a checkpoint": (
        lambda run: next((run / "checkpoints").iterdir()), ConfigError, "a part of one; give "
    ),
    "another file": (lambda run: run / "test.json", ConfigError, "is no file of weights"),
    "no weights": (without_weights, ConfigError, "has no weights yet: its status is finished"),
    "cut weights": (
        damage("best.safetensors", lambda c: c[:-10]), CheckpointError, "best.safetensors: "
    ),
    "one bit": (damage("best.safetensors", a_bit), CheckpointError, "has changed since this run"),
    "no header": (damage("best.safetensors", lambda c: b"x"), CheckpointError, "cannot read"),
    "manifest": (damage("manifest.json", lambda c: c[:40]), CheckpointError, "manifest.json"),
    "config": (damage("config.yaml", lambda c: b"task: 3"), CheckpointError, "config.yaml cannot"),
    "no description": (without_description, CheckpointError, "does not say what network"),
    "format": (changed("", format=9), CheckpointError, "this version reads format 1"),
    "model": (changed("", model="simple_conv_kagm"), ConfigError, "'simple_conv_kagn'?"),
    "task": (changed("", task="clasification"), ConfigError, "'classification'?; a script"),
    "options": (changed("", options={"width": 3}), ConfigError, "has no option 'width'"),
    "tensors": (other_tensors, CheckpointError, "missing: "),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_a_sentence(mistake: str, runs, tmp_path: Path) -> None:
    make, kind, words = MISTAKES[mistake]
    shutil.copytree(runs("kagn"), tmp_path / "runs" / "run")
    path = make(tmp_path / "runs" / "run")
    with pytest.raises(kind) as caught:
        load_run(path)
    assert words in str(caught.value)


# ----------------------------------------------------------------------------------------- scripts
SCRIPT = """
from torch import nn

from experiments.app import launch
from experiments.data import load_datasets
from models import Option, register


@register("own_net", options=[Option("width", int, 4, "channels")])
def own_net(*, num_classes, input_channels, width):
    return nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(),
                         nn.Linear(16 * input_channels, width), nn.Linear(width, num_classes))


def get_data(cfg):
    train, validation, test = load_datasets(cfg.data)
    return train, validation, validation


if __name__ == "__main__":
    launch("cifar", get_data)
"""


@pytest.fixture(scope="module")
def own_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(script, run directory) of a network that the script registers, tested on its own data."""
    folder = tmp_path_factory.mktemp("own")
    script = folder / "own.py"
    script.write_text(SCRIPT)
    kept = [word for word in TINY if "layer_sizes" not in word and "model=" not in word]
    (done,) = forks.run(str(script), *kept, "model=own_net", f"runs_dir={folder / 'runs'}")
    assert done.returncode == 0, done.stderr
    (run,) = (folder / "runs" / "run").iterdir()
    return script, run


def in_fork(*lines: str) -> forks.Ended:
    code = "import logging; from experiments.usage import load_run\n" + "\n".join(lines)
    (done,) = forks.run("-c", code)
    return done


def test_a_network_of_the_users_own_needs_its_script(own_run, tmp_path: Path) -> None:
    script, run = own_run
    with pytest.raises(ConfigError) as caught:
        load_run(run)
    assert "no network is called 'own_net'" in str(caught.value)
    assert "load_run(path, script=FILE), or --script FILE on a command line" in str(caught.value)
    assert f"The run was started by {script}" in str(caught.value)
    twice = f"load_run({str(run)!r}, {str(script)!r})"
    done = in_fork(twice, f"print(type({twice}.model).__name__)")
    assert done.stdout == "Sequential\n" and done.stderr == "", done.stderr
    other = tmp_path / "own.py"
    other.write_text(SCRIPT + "\n# changed\n")
    done = in_fork(f"load_run({str(run)!r}, script={str(other)!r})")
    assert done.returncode == 0 and done.stderr.count("\n") == 1
    assert "is not as it was when the run began" in done.stderr


@pytest.mark.parametrize("text, words", [
    (None, "there is no such file"),
    ("1 / 0", "cannot be imported: ZeroDivisionError: division by zero"),
    ("def (", "cannot be imported: SyntaxError"),
    ("raise SystemExit(3)", "cannot be imported: SystemExit: 3"),
])  # fmt: skip
def test_a_script_that_cannot_be_used_is_a_sentence(text, words, own_run, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    if text is not None:
        script.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_run(own_run[1], script=script)
    assert words in str(caught.value)


def test_the_data_of_a_script_are_evaluated_with_it_and_not_without(own_run) -> None:
    script, run = own_run
    evaluate = ("-m", "experiments.evaluate", str(run))
    (refused,), (done,) = forks.run_together(
        forks.Command(evaluate), forks.Command([*evaluate, "--script", str(script)])
    )
    assert refused.returncode == 2 and "Traceback" not in refused.stderr
    assert done.returncode == 0, done.stderr
    test = json.loads((run / "test.json").read_text())
    found = json.loads((run / "evaluations" / "digits-test.json").read_text())
    assert found["metrics"] == test["metrics"] and found["data_of_the_run"]


def test_logging_is_left_alone() -> None:
    assert logging.getLogger("experiments").handlers == []
