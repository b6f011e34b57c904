"""All images are read before training: damaged ones are told at once, or left out and recorded."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from generated_data import write_tree

from experiments.app import run
from experiments.config.compose import load_config
from experiments.data import load_datasets
from experiments.data.admit import admit
from experiments.errors import CheckpointError, DataError

TINY = [
    "data=folder", "model=simple_conv", "model.layer_sizes=[4,4,8,8]", "augment=none",
    "trainer.batch_size=4", "trainer.epochs=2", "trainer.progress=false", "name=run",
]  # fmt: skip
DAMAGED = ["train/ant/003.png", "train/bee/007.png", "test/bee/001.png"]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Three splits of 100 images each, three of them damaged in three ways, beyond any sample."""
    root = tmp_path / "data"
    write_tree(root, ["train", "val", "test"], count=60)
    first, second, third = (root / name for name in DAMAGED)
    first.write_bytes(first.read_bytes()[:70])
    second.write_text("<html>")
    third.write_bytes(b"")
    return root


def config(root: Path, *overrides: str):
    return load_config("cifar", [*TINY, f"data.root={root}", *overrides])


def enter(root: Path, *overrides: str):
    cfg = config(root, *overrides)
    return admit(load_datasets(cfg.data), cfg)


def test_all_damaged_files_are_listed_at_once(tree: Path) -> None:
    with pytest.raises(DataError, match=r"^3 images cannot be used: .*data.skip_damaged=true") as e:
        enter(tree, "data.check=true")
    lines = str(e.value).splitlines()
    assert len(lines) == 4 and all(
        str(tree / name) in line for name, line in zip(DAMAGED, lines[1:], strict=True)
    )
    for name in DAMAGED:
        (tree / name).unlink()
    assert len(enter(tree, "data.check=true").train) == 118


def test_they_are_left_out_and_the_rest_keeps_its_labels(tree: Path, caplog) -> None:
    data = enter(tree, "data.skip_damaged=true")
    assert [len(part) for part in data] == [118, 120, 119]
    assert data.train.left_out == [str(tree / name) for name in DAMAGED[:2]]
    assert "left out 1 damaged test images" in caplog.text
    labels = [data.train[index][1] for index in range(118)]
    assert labels == [0] * 59 + [1] * 59


def test_a_rule_that_is_broken_is_no_damage() -> None:
    cfg = config(Path("."), "data=digits", "data.skip_damaged=true")
    items = [(torch.rand(1, 8, 8) * (1 if i else 255), i % 2) for i in range(12)]
    with pytest.raises(DataError, match=r"(?s)1 image cannot be used: .*image / 255"):
        admit((items, items[1:], items[1:]), cfg)


class Gone(list):
    def __getitem__(self, index):
        raise OSError("share not mounted")


def test_a_split_of_which_nothing_is_left_is_refused() -> None:
    cfg = config(Path("."), "data=digits", "data.skip_damaged=true")
    good = [(torch.rand(1, 8, 8), i % 2) for i in range(12)]
    with pytest.raises(DataError, match=r"all 12 test images are damaged.*share not mounted"):
        admit((good, good, Gone(good)), cfg)


def test_a_run_records_them_and_goes_on_without_them(tree: Path, tmp_path: Path) -> None:
    options = ["data.skip_damaged=true", f"runs_dir={tmp_path / 'runs'}", "trainer.limit_steps=3"]
    whole = run(config(tree, *options))
    named = {
        "train": [str(tree / name) for name in DAMAGED[:2]],
        "test": [str(tree / DAMAGED[2])],
    }
    assert json.loads((whole.run_dir / "manifest.json").read_text())["left_out"] == named
    shutil.copytree(whole.run_dir, tmp_path / "again")
    resume = f"trainer.resume={tmp_path / 'again' / 'checkpoints' / 'step-00000003'}"
    again = run(config(tree, *options, resume))
    for name in ("metrics.jsonl", "test.json", "best.safetensors"):
        assert (again.run_dir / name).read_bytes() == (whole.run_dir / name).read_bytes(), name
    assert json.loads((again.run_dir / "manifest.json").read_text())["left_out"] == named
    shutil.copy(tree / "train/ant/004.png", tree / DAMAGED[0])  # mended: another run
    with pytest.raises(CheckpointError, match=r"data\.images"):
        run(config(tree, *options, resume))
