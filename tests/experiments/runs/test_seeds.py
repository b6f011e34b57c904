"""Each seed of `seeds` changes its own part of a run, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from experiments.app import run
from experiments.config.compose import load_config
from experiments.data import load_datasets
from experiments.data.seeding import seed_generators
from experiments.training.trainer import Trainer
from tests.experiments.conftest import TINY

STREAMS = ["init", "shuffle", "augment", "mixup", "dropout"]
CHANCE = ["augment=basic", "augment.mixup=0.5", "model.dropout=0.2"]


class BeginsError(Exception):
    """Thrown where training would begin."""


def chances(trainer: Trainer) -> dict[str, Any]:
    """What each stream gives at the beginning of a run."""
    trainer.seed_step()
    noise = torch.rand(5)
    schedule = trainer.train_loader._schedule
    reader = trainer.train_loader._batches._reader
    order = schedule.order(1)
    seed_generators(next(schedule.keys(1, order, range(1))).mix_seed)
    images = torch.arange(32.0)[:, None, None, None].expand(32, 1, 4, 4).clone()
    mixed = reader.recipe.mix(images, torch.arange(32) % 10)
    return {
        "init": [v.tolist() for v in trainer.module.state_dict().values()],
        "shuffle": order.tolist(),
        "augment": [reader._sample(1, index)[0].tolist() for index in range(5)],
        "mixup": mixed[1].tolist(),
        "dropout": noise.tolist(),
    }


@pytest.fixture
def begin(tmp_path, monkeypatch) -> Callable[..., dict[str, Any]]:
    """begin("key=value", ...) is a run up to its first step."""

    def go(*overrides: str, get_data: Any = None) -> dict[str, Any]:
        found: dict[str, Any] = {}

        def fit(self: Trainer) -> None:
            found.update(chances(self))
            raise BeginsError

        monkeypatch.setattr(Trainer, "fit", fit)
        config = load_config("cifar", [*TINY, *CHANCE, f"runs_dir={tmp_path}", *overrides])
        with pytest.raises(BeginsError):
            run(config) if get_data is None else run(config, get_data)
        return found

    return go


def test_a_seed_of_its_own_changes_its_stream_alone(begin):
    common = begin()
    assert set(common) == set(STREAMS)
    for stream in STREAMS:
        other = begin(f"seeds.{stream}=5")
        changed = [name for name in STREAMS if other[name] != common[name]]
        assert changed == [stream]


def test_seeds_that_are_not_given_are_that_of_the_run(begin):
    common = begin("seed=5")
    assert begin(*(f"seeds.{stream}=5" for stream in STREAMS)) == common
    other = begin()
    assert all(other[stream] != common[stream] for stream in STREAMS)


def test_weights_do_not_depend_on_what_get_data_draws(begin):
    def drawing(config):
        torch.rand(3)
        return load_datasets(config.data)

    assert begin(get_data=drawing) == begin()
