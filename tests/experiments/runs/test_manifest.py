"""Manifests, and files that are whole or absent."""

import json
import os
import subprocess
import sys
from datetime import datetime
from importlib import metadata
from pathlib import Path

import pytest
import torch

from experiments.errors import ConfigError
from experiments.files import atomic_path, write_json
from experiments.runs.manifest import (
    build_manifest,
    git_state,
    hardware,
    package_versions,
    peak_memory_bytes,
    update_manifest,
)
from experiments.tasks.rows import TASKS


@pytest.fixture
def manifest():
    return build_manifest(
        name="run",
        seed=3,
        device=torch.device("cpu"),
        processes=2,
        precision="bf16",
        parameters=10,
        macs=20,
        input_shape=torch.Size([3, 8, 8]),
        task=TASKS["classification"],
        monitor="loss",
    )


def test_a_manifest_is_json_and_says_how_the_run_was_made(manifest):
    assert json.loads(json.dumps(manifest)) == manifest
    assert {"name": "run", "seed": 3, "device": "cpu", "processes": 2}.items() <= manifest.items()
    assert {"precision": "bf16", "parameters": 10, "macs": 20}.items() <= manifest.items()
    assert manifest["input_shape"] == [3, 8, 8]
    assert manifest["status"] == "running" and manifest["backend"] is None
    assert manifest["threads"] == torch.get_num_threads()
    assert datetime.fromisoformat(manifest["started"]).tzinfo is not None
    for key in ("finished", "wall_seconds", "step_seconds", "images_per_second"):
        assert manifest[key] is None


def test_the_command_can_be_pasted_into_a_shell(monkeypatch, manifest):
    monkeypatch.setattr(sys, "argv", ["cifar.py", "name=two words"])
    command = build_manifest(
        name="", seed=0, device="cpu", processes=1, precision="no", parameters=0, macs=0,
        input_shape=(1,), task=TASKS["classification"], monitor="accuracy",
    )["command"]  # fmt: skip
    assert command.endswith("cifar.py 'name=two words'")


def test_a_manifest_tells_how_a_report_is_to_read_the_run(manifest):
    assert manifest["task"] == "classification"
    assert [figure["name"] for figure in manifest["report"]["columns"]] == ["accuracy"]
    assert manifest["report"]["monitor"]["name"] == "loss"
    assert manifest["report"]["monitor"]["maximise"] is False


def test_update_keeps_the_rest(tmp_path, manifest):
    path = tmp_path / "manifest.json"
    write_json(path, manifest)
    update_manifest(path, status="finished", wall_seconds=1.5)
    assert json.loads(path.read_text()) == manifest | {"status": "finished", "wall_seconds": 1.5}
    with pytest.raises(ConfigError, match="did you mean 'finished'"):
        update_manifest(path, status="finish")


def test_versions_are_read_without_imports():
    before = set(sys.modules)
    versions = package_versions()
    assert versions["torch"] == metadata.version("torch")
    assert versions["python"].startswith("3.")
    assert not {"accelerate", "hydra", "torchmetrics", "cupy"} & (set(sys.modules) - before)


def test_absent_packages_have_no_version(monkeypatch):
    monkeypatch.setattr("experiments.runs.manifest.PACKAGES", ("no-such-package-here",))
    assert package_versions()["no-such-package-here"] is None


def test_hardware_and_memory():
    machine = hardware()
    assert machine["cores"] >= 1
    assert machine["memory_bytes"] > 2**28
    assert len(machine["gpus"]) == torch.cuda.device_count()


@pytest.mark.skipif(sys.platform != "linux", reason="compares with Linux's own account")
def test_peak_memory_is_in_bytes():
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    now = pages * os.sysconf("SC_PAGE_SIZE")
    assert 0.9 * now < peak_memory_bytes("cpu") < hardware()["memory_bytes"]


# --------------------------------------------------------------------------------------------- git
def git(directory, *arguments):
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run(["git", *identity, *arguments], cwd=directory, check=True, capture_output=True)


def test_git_state(tmp_path):
    assert git_state(tmp_path) is None
    git(tmp_path, "init")
    assert git_state(tmp_path) is None  # no commit yet
    (tmp_path / "file").write_text("1")
    git(tmp_path, "add", "file")
    git(tmp_path, "commit", "-m", "first")
    state = git_state(tmp_path)
    assert len(state["sha"]) == 40 and state["dirty"] is False
    (tmp_path / "file").write_text("2")
    assert git_state(tmp_path) == {"sha": state["sha"], "dirty": True}


def test_without_git_there_is_no_state(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_state(tmp_path) is None


# --------------------------------------------------------------------------------- atomic writes
def test_json_holds_no_nan_and_nothing_else_is_left(tmp_path):
    write_json(tmp_path / "a.json", {"x": [1.5, float("nan")], "y": (float("inf"), "text")})
    text = (tmp_path / "a.json").read_text()
    assert json.loads(text) == {"x": [1.5, None], "y": [None, "text"]}
    assert os.listdir(tmp_path) == ["a.json"]


def test_an_error_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, 1)
    with pytest.raises(TypeError):
        write_json(path, object())
    with pytest.raises(RuntimeError), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "1\n"
    assert os.listdir(tmp_path) == ["a.json"]


def test_new_files_have_the_usual_permissions(tmp_path):
    write_json(tmp_path / "a.json", 1)
    (tmp_path / "b").write_text("")
    assert (tmp_path / "a.json").stat().st_mode == (tmp_path / "b").stat().st_mode
