"""Checkpoints are whole or absent, verified before use, and never unpickled blindly."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import nn

from experiments.errors import CheckpointError
from experiments.training import checkpoint as module
from experiments.training import tensor_files
from experiments.training.checkpoint import Checkpoint, CheckpointStore
from experiments.training.tensor_files import load_weights, read_tensors, save_tensors, sha256_of


def some_checkpoint(value: float = 1.0) -> Checkpoint:
    model = {"w": torch.full((3, 2), value), "n": torch.tensor(7)}
    return Checkpoint(model, {"progress": {"step": 3}, "t": torch.arange(3.0)}, None, {"seed": 0})


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    store = CheckpointStore(tmp_path / "checkpoints")
    for step in (10, 20, 30):
        store.write(step, some_checkpoint(step), keep_last=2)
    return store


def test_round_trip_and_pruning(store: CheckpointStore) -> None:
    assert store.steps() == [20, 30]
    loaded = store.load(store.path(30))
    assert torch.equal(loaded.model["w"], torch.full((3, 2), 30.0))
    assert loaded.model["n"].dtype == torch.int64
    assert loaded.state["progress"] == {"step": 3}
    assert torch.equal(loaded.state["t"], torch.arange(3.0))
    assert loaded.ema is None and loaded.config == {"seed": 0}


@pytest.mark.parametrize("name", ["model.safetensors", "state.pt"])
@pytest.mark.parametrize("damage", ["truncate", "flip", "remove"])
def test_damage_is_named_and_the_previous_one_offered(
    store: CheckpointStore, name: str, damage: str
) -> None:
    file = store.path(30) / name
    content = file.read_bytes()
    if damage == "truncate":
        file.write_bytes(content[: len(content) // 2])
    elif damage == "flip":
        file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    else:
        file.unlink()
    with pytest.raises(CheckpointError) as caught:
        store.load(store.path(30))
    assert "step-00000030" in str(caught.value) and name in str(caught.value)
    assert f"trainer.resume={store.path(20)}" in str(caught.value)


def test_no_way_back_is_said_too(store: CheckpointStore) -> None:
    for step in store.steps():
        (store.path(step) / "state.pt").write_bytes(b"")
    with pytest.raises(CheckpointError, match="start it anew"):
        store.load(store.path(30))


def test_foreign_folder_is_refused(tmp_path: Path, store: CheckpointStore) -> None:
    (store.root / "step-00000040").mkdir()
    with pytest.raises(CheckpointError, match="is not a checkpoint"):
        store.load(store.path(40))


def test_objects_are_never_unpickled(store: CheckpointStore, tmp_path: Path) -> None:
    """A state.pt with code in it, and with the right hash, must not run that code."""
    witness = tmp_path / "ran"

    class Bomb:
        def __reduce__(self) -> tuple:
            return (os.mkdir, (str(witness),))

    path = store.path(30)
    with open(path / "state.pt", "wb") as file:
        torch.save({"bomb": Bomb()}, file, pickle_module=pickle)
    meta = json.loads((path / "checkpoint.json").read_text())
    meta["files"]["state.pt"] = {
        "bytes": (path / "state.pt").stat().st_size,
        "sha256": sha256_of(path / "state.pt"),
    }
    (path / "checkpoint.json").write_text(json.dumps(meta))
    with pytest.raises(CheckpointError):
        store.load(path)
    assert not witness.exists()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="only Linux has a full device")
def test_a_full_disk_is_an_os_error_whichever_file_meets_it(
    store: CheckpointStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def full(path: Path) -> Iterator[Path]:
        yield Path("/dev/full") if path.name == "state.pt" else path

    monkeypatch.setattr(module, "atomic_path", full)
    with pytest.raises(OSError, match="No space left"):
        store.write(40, some_checkpoint(), keep_last=1)
    assert store.steps() == [20, 30]


@pytest.mark.parametrize("moment", ["model", "state", "rename"])
def test_a_write_that_fails_leaves_the_earlier_ones(
    store: CheckpointStore, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    if moment == "model":
        monkeypatch.setattr(tensor_files, "save_file", fail)
    elif moment == "state":
        monkeypatch.setattr(module.torch, "save", fail)
    else:
        monkeypatch.setattr(module.os, "replace", fail)
    with pytest.raises(OSError, match="No space"):
        store.write(40, some_checkpoint(), keep_last=1)
    monkeypatch.undo()
    assert store.steps() == [20, 30]
    assert sorted(p.name for p in store.root.iterdir()) == ["step-00000020", "step-00000030"]
    store.load(store.path(30))


def test_newer_checkpoints_are_set_aside(store: CheckpointStore) -> None:
    store.set_aside_after(20)
    assert store.steps() == [20]
    assert (store.root / "discarded-step-00000030").is_dir()


def test_weights_of_another_model_are_refused_with_both_shapes(tmp_path: Path) -> None:
    save_tensors(tmp_path / "a.safetensors", nn.Linear(3, 2).state_dict())
    tensors = read_tensors(tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match=r"weight: \(2, 3\) in the file, \(2, 4\) in the"):
        load_weights(nn.Linear(4, 2), tensors, "a.safetensors")
    with pytest.raises(CheckpointError, match="unexpected: bias"):
        load_weights(nn.Linear(3, 2, bias=False), tensors, "a.safetensors")


def test_unreadable_weights_are_named(tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(b"no tensors here")
    for name in ("x.safetensors", "absent.safetensors"):
        with pytest.raises(CheckpointError, match=name):
            read_tensors(tmp_path / name)
