"""States that are not finite are found wherever they hide, and never written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from experiments.errors import TrainingError
from experiments.runs.ending import Result
from experiments.tasks.classification import Classification
from experiments.training.checkpoint import verify
from experiments.training.finite import not_finite
from experiments.training.trainer import Trainer

Run = Callable[..., Result]
INF, NAN = float("inf"), float("nan")


@pytest.mark.parametrize("value", [INF, -INF, NAN])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_every_bad_value_is_found(value: float, dtype: torch.dtype) -> None:
    bad, good = torch.ones(3, 2, dtype=dtype), torch.full((5,), 6e4, dtype=dtype)
    bad[1, 1] = value
    named = {"good": good, "count": torch.tensor(7), "none": torch.empty(0), "text": "nan"}
    assert not_finite(named.items()) == []
    assert not_finite([*named.items(), ("bad", bad)]) == ["bad"]
    assert not_finite({"state": {0: {"lists": [good, bad], "loss": value}}}.items()) == [
        "state.0.loss", "state.0.lists[1]",
    ]  # fmt: skip


def test_large_numbers_are_finite() -> None:
    assert not_finite([("a", torch.full((9,), 1e308, dtype=torch.float64))]) == []


def stop_with(tiny_run: Run, tmp_path: Path, *overrides: str) -> tuple[str, Path]:
    with pytest.raises(TrainingError) as caught:
        tiny_run(*overrides)
    (path,) = (tmp_path / "run").iterdir()
    assert json.loads((path / "manifest.json").read_text())["status"] == "failed"
    return str(caught.value), path


@pytest.mark.parametrize("what", ["weight", "buffer", "optimizer", "average", "validation"])
def test_the_last_finite_checkpoint_stays(
    tiny_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """Step 3 spoils one number, which no loss shows before it would be written."""
    step, evaluate = Trainer.train_step, Trainer.evaluate

    def spoilt(self: Trainer, batches: object) -> torch.Tensor:
        loss = step(self, batches)  # type: ignore[arg-type]
        if self.progress.step == 2:
            spoil(self)
        return loss

    def spoil(self: Trainer) -> None:
        if what == "weight":
            next(self.module.parameters()).data.view(-1)[0] = NAN
        elif what == "buffer":
            next(b for n, b in self.module.named_buffers() if "running_var" in n)[0] = INF
        elif what == "optimizer":
            next(iter(self.optimizer.state.values()))["exp_avg_sq"].view(-1)[0] = INF
        elif what == "average":
            next(self.ema.module.parameters()).data.view(-1)[0] = NAN

    def no_number(self: Trainer, loader: object) -> tuple:
        values, metrics = evaluate(self, loader)  # type: ignore[arg-type]
        return {**values, "loss": NAN}, metrics

    monkeypatch.setattr(Trainer, "train_step", spoilt)
    if what == "validation":
        monkeypatch.setattr(Trainer, "evaluate", no_number)
    message, path = stop_with(tiny_run, tmp_path, "trainer.checkpoint_steps=1",
                              "trainer.keep_last=1", "trainer.ema_decay=0.9")  # fmt: skip
    last = "step-00000003" if what == "validation" else "step-00000002"
    assert [p.name for p in (path / "checkpoints").iterdir()] == [last]
    assert f"the last good checkpoint is {path / 'checkpoints' / last}" in message
    verify(path / "checkpoints" / last)
    named = {"optimizer": "optimizer state.", "average": "moving average of",
             "validation": "validation loss is nan"}  # fmt: skip
    assert named.get(what, "is not finite") in message
    assert not (path / "test.json").exists()


def test_one_epoch_of_nan_is_not_finished(tiny_run: Run, tmp_path: Path) -> None:
    message, path = stop_with(tiny_run, tmp_path, "optimizer.lr=1e30", "trainer.limit_steps=1")
    assert "there is no checkpoint yet" in message
    assert not (path / "best.safetensors").exists() and not (path / "test.json").exists()


def test_a_model_may_hold_infinities_of_its_own(
    tiny_run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from experiments.runs import prepare

    make = prepare.make_model

    def masked(*arguments: object) -> torch.nn.Module:
        model = make(*arguments)  # type: ignore[arg-type]
        model.register_buffer("mask", torch.tensor([0.0, -INF]))
        return model

    monkeypatch.setattr(prepare, "make_model", masked)
    assert tiny_run("trainer.limit_steps=1").test is not None


def test_a_test_without_a_number_keeps_what_could_be_computed(
    tiny_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compute, calls = Classification.evaluation_loss, []

    def broken(self: Classification, *arguments: object) -> tuple:
        loss, outputs = compute(self, *arguments)  # type: ignore[arg-type]
        calls.append(1)
        return loss * (NAN if len(calls) == 2 else 1), outputs

    monkeypatch.setattr(Classification, "evaluation_loss", broken)
    message, path = stop_with(tiny_run, tmp_path, "trainer.limit_steps=1")
    assert "the test loss is nan" in message
    test = json.loads((path / "test.json").read_text())
    assert test["metrics"]["loss"] is None and 0 <= test["metrics"]["accuracy"] <= 1
    assert sum(map(sum, test["confusion_matrix"])) == 359
