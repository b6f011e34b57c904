"""Runs of seconds, trained once for all tests of what one does with a run, and pictures."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from experiments.app import run
from experiments.config.compose import load_config
from experiments.config.data import DataConfig
from experiments.data import load_datasets
from tests.experiments.conftest import TINY, unrendered

COUNT = 7
SETTINGS = {
    "kagn": ("cifar", TINY),
    "kat": ("cifar", [
        *TINY[:2], "model=kat", "model.image_size=16", "model.patch_size=8", "model.width=16",
        "model.heads=1", "model.depth=1", "model.groups=2", *TINY[4:],
    ]),
    "masks": ("segmentation", [
        "data.source=digits", "data.count=60", "data.image_size=48", "model=ukagnet",
        "model.depth=2", "model.layers=1", "model.width_scale=0.1", "trainer.batch_size=12",
        "trainer.epochs=1", "trainer.limit_steps=2", "trainer.progress=false", "name=run",
    ]),
    "ink": ("cifar", [*TINY, "task=regression", "data.target=ink", "model.head=linear"]),
    "labels": ("cifar", [
        *TINY[2:], "data=canvas", "data.source=digits", "data.target=labels", "data.count=60",
        "data.image_size=48", "task=multilabel", "model.head=linear",
    ]),
}  # fmt: skip


class Runs:
    """Run directories by the names of SETTINGS, each trained when it is first asked for."""

    def __init__(self, place: Path) -> None:
        self.place, self.paths = place, dict[str, Path]()

    def __call__(self, name: str) -> Path:
        if name not in self.paths:
            entry, overrides = SETTINGS[name]
            config = load_config(entry, [*overrides, f"runs_dir={self.place / name}"])
            with unrendered():
                self.paths[name] = run(config).run_dir
        return self.paths[name]


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return Runs(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first test digits as files, of 32 x 32 pixels."""
    folder = tmp_path_factory.mktemp("pictures")
    test = load_datasets(DataConfig()).test
    for index in range(COUNT):
        Image.fromarray(test[index][0][0].numpy()).save(folder / f"{index}.png")
    return folder
