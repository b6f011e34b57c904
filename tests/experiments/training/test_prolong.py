"""More epochs for a finished run, and fewer where patience ends: bit for bit, nothing lost."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from experiments.app import run
from experiments.config.compose import load_config
from experiments.config.optim import FallingConfig, OneCycleConfig, WarmupConfig
from experiments.errors import CheckpointError, ConfigError
from experiments.files import read_rows
from experiments.runs.ending import Result
from experiments.training.length import check_length
from experiments.training.trainer import Trainer
from tests.experiments.conftest import TINY
from tests.experiments.training.fingerprint import fingerprint

Run = Callable[..., Result]
STATEFUL = ["trainer.ema_decay=0.9", "model.dropout=0.1", "scheduler.warmup=1",
            "trainer.limit_steps=2"]  # fmt: skip


def trained(folder: Path, *options: str) -> Path:
    return run(load_config("cifar", [*TINY, *STATEFUL, f"runs_dir={folder}", *options])).run_dir


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("short"))


def told(run_dir: Path) -> Any:
    return json.loads((run_dir / "manifest.json").read_text())


def hashes(folder: Path) -> dict[str, bytes]:
    return {str(f): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}


def test_a_prolonged_run_is_what_it_would_have_been(tmp_path: Path, short: Path) -> None:
    before = hashes(short)
    longer = trained(tmp_path, "trainer.epochs=3", f"trainer.resume={short}")
    whole = trained(tmp_path, "trainer.epochs=3")
    assert longer != short and fingerprint(longer) == fingerprint(whole)
    assert hashes(short) == before  # with its own result and weights
    parent = told(longer)["parent"]
    assert (parent["run"], parent["prolonged"]) == (str(short), True)
    assert parent["changed"] == {"trainer.epochs": [1, 3]}
    assert told(longer)["ended"] == {"reason": "epochs", "epoch": 3,
                                     "best_epoch": told(whole)["ended"]["best_epoch"]}  # fmt: skip
    assert len(read_rows(longer / "timing.jsonl")) == 3


def test_it_needs_its_parent_no_more(tmp_path: Path, short: Path) -> None:
    parent = tmp_path / "parent"
    shutil.copytree(short, parent)
    longer = trained(tmp_path, "trainer.epochs=2", f"trainer.resume={parent}")
    shutil.rmtree(parent)
    first = longer / "checkpoints" / "step-00000002"
    again = fingerprint(longer)
    assert trained(tmp_path, "trainer.epochs=2", f"trainer.resume={first}") == longer
    assert fingerprint(longer) == again


@pytest.mark.parametrize("options, error, words", [
    (["trainer.epochs=3", "scheduler=cosine"], CheckpointError, r"scheduler\.name: 'constant' -> "),
    (["trainer.epochs=3", "optimizer.lr=0.5"], CheckpointError, r"optimizer\.lr: 0\.001 -> 0\.5"),
])  # fmt: skip
def test_what_else_changes_is_another_run(
    tmp_path: Path, short: Path, options: list[str], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        trained(tmp_path, f"trainer.resume={short}", *options)


def test_a_schedule_that_knows_its_end_is_not_prolonged(tmp_path: Path) -> None:
    options = ["scheduler=cosine", "scheduler.warmup=0", "trainer.test=false"]
    falling = trained(tmp_path, *options)
    with pytest.raises(ConfigError, match=r"scheduler=cosine depends on .* model\.weights=RUN"):
        trained(tmp_path, *options, "trainer.epochs=2", f"trainer.resume={falling}")
    assert len(list((tmp_path / "run").iterdir())) == 1


@pytest.mark.parametrize("schedule, allowed", [
    (WarmupConfig("constant"), True),
    (WarmupConfig("constant", warmup=7), True),
    (WarmupConfig("constant", warmup=1, unit="epoch", stairs=True), True),
    (WarmupConfig("constant", warmup=0.1), False),
    (OneCycleConfig("onecycle"), False),
])  # fmt: skip
def test_a_length_is_free_where_the_rates_so_far_do_not_know_it(
    schedule: WarmupConfig | FallingConfig, allowed: bool
) -> None:
    def check() -> None:
        check_length(schedule, 0.1, per_epoch=10, steps=20, before=2, after=4)

    if allowed:
        check()
    else:
        with pytest.raises(
            ConfigError, match=r"trainer\.epochs=4: .* learning rate of step \d+ was"
        ):
            check()


# ------------------------------------------------------------------------------------- patience
@pytest.fixture
def scores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Accuracies of epochs, whatever is computed: better, worse, better, worse, worse, ..."""
    evaluate = Trainer.evaluate

    def scored(self: Trainer, loader: Iterable[Any]) -> Any:
        values, metrics = evaluate(self, loader)
        accuracy = [0.1, 0.05, 0.2, 0.1, 0.2, 0.1, 0.3][self.progress.epoch]
        return {**values, "accuracy": accuracy}, metrics

    monkeypatch.setattr(Trainer, "evaluate", scored)


def test_patience_ends_a_run_and_its_resumption_alike(
    tmp_path: Path, scores: None, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["trainer.epochs=6", "trainer.patience=2", "trainer.keep_last=9"]
    whole = trained(tmp_path, *options)
    assert told(whole)["ended"] == {"reason": "patience", "epoch": 5, "best_epoch": 3}
    assert "ended in epoch 5: no better validation accuracy for 2 epochs" in capsys.readouterr().out
    wanted = fingerprint(whole)
    within = whole / "checkpoints" / "step-00000008"  # of epoch 4, the first without a better one
    assert trained(tmp_path, *options, f"trainer.resume={within}") == whole
    assert fingerprint(whole) == wanted and told(whole)["ended"]["epoch"] == 5
    with pytest.raises(ConfigError, match=r"ended in epoch 5 by trainer\.patience=2, as it would"):
        trained(tmp_path, *options, "trainer.epochs=7", f"trainer.resume={whole}")
    longer = trained(tmp_path, *options, "trainer.patience=3", f"trainer.resume={whole}")
    assert told(longer)["ended"] == {"reason": "epochs", "epoch": 6, "best_epoch": 3}


def test_nothing_stops_by_what_is_not_validated(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"with data.fit=all: there is no validation by which"):
        trained(tmp_path, "trainer.patience=2", "data.fit=all")
