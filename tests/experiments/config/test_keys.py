"""Which key a misspelt or foreign one is taken for; only near ones are suggested."""

from __future__ import annotations

import pytest

from experiments.config.compose import known_keys
from experiments.config.keys import ELSEWHERE, unknown_key
from experiments.config.parse import keys_of_all_choices


@pytest.fixture(scope="module")
def known() -> list[str]:
    return known_keys("cifar")


@pytest.mark.parametrize("key, words", [
    ("lr", "lr is not a known key; did you mean 'optimizer.lr'?"),
    ("trainer.lr", "did you mean 'optimizer.lr'?\nThe keys of trainer: accumulation,"),
    ("trainer.epoch", "did you mean 'trainer.epochs'?"),
    ("Optimizer.LR", "did you mean 'optimizer.lr'?"),
    ("batch-size", "did you mean 'trainer.batch_size'?"),
    ("size", "did you mean 'augment.size' or 'model.size'?"),
    ("num_workers", "did you mean 'data.workers'?"),
    ("learning_rate", "did you mean 'optimizer.lr'?"),
    ("dataset", "did you mean 'data'?"),
    ("data.path", "did you mean 'data.root'?"),
    ("momentum", "did you mean 'optimizer.momentum'?"),
    ("grid_size", "did you mean 'model.grid_size'?"),
    ("data.crop_size", "did you mean 'augment.size'?"),
    ("trainer.early_stopping", "did you mean 'trainer.patience'?"),
    ("device", "trainer.cpu=true takes the CPU"),
    ("tune", "`python tune.py tune=NAME` searches over settings"),
    ("trainer.frobnicate", "trainer.frobnicate is not a known key\nThe keys of trainer: acc"),
    ("trainer.epochs.x", "trainer.epochs.x is not a known key\n--help lists"),
    ("frobnicate", "frobnicate is not a known key\n--help lists"),
])  # fmt: skip
def test_a_key_is_told_what_was_meant(known: list[str], key: str, words: str) -> None:
    assert words in unknown_key(key, known, set(keys_of_all_choices()))


def test_what_other_programs_call_a_key_leads_to_one_that_there_is(known: list[str]) -> None:
    assert set(ELSEWHERE.values()) <= set(known)


def test_only_what_is_near_is_suggested() -> None:
    known = ["trainer", "trainer.batch_size", "trainer.epochs"]
    assert "did you mean" not in unknown_key("trainer.patient", known)
    assert "did you mean" not in unknown_key("data.epoch", known)
