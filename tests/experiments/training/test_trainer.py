"""The loop: every option changes what it says it changes, and nothing else."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from torch import Tensor

from experiments.app import run
from experiments.config.compose import load_config
from experiments.errors import ConfigError, TrainingError
from experiments.runs.ending import Result
from experiments.runs.setup import set_threads
from experiments.tasks.classification import Classification
from experiments.training.tensor_files import read_tensors
from experiments.training.trainer import Trainer
from tests.experiments.conftest import TINY

Run = Callable[..., Result]


def weights(result: Result) -> dict[str, Tensor]:
    """The weights after the last step."""
    last = sorted((result.run_dir / "checkpoints").iterdir())[-1]
    return read_tensors(last / "model.safetensors")


def rows(result: Result, split: str) -> list[dict]:
    lines = (result.run_dir / "metrics.jsonl").read_text().splitlines()
    return [row for row in map(json.loads, lines) if row["split"] == split]


def largest_difference(a: dict[str, Tensor], b: dict[str, Tensor]) -> float:
    return max(float((a[k].double() - b[k].double()).abs().max()) for k in a)


def test_a_run_leaves_all_its_files(tiny_run: Run) -> None:
    result = tiny_run("trainer.epochs=2")
    names = {p.name for p in result.run_dir.iterdir()}
    assert names >= {
        "config.yaml",
        "manifest.json",
        "metrics.jsonl",
        "timing.jsonl",
        "curves.png",
        "confusion_matrix.png",
        "best.safetensors",
        "test.json",
        "checkpoints",
    }
    manifest = json.loads((result.run_dir / "manifest.json").read_text())
    assert manifest["status"] == "finished" and manifest["step_seconds"] > 0
    timing = [json.loads(line) for line in (result.run_dir / "timing.jsonl").open()]
    for row in timing:
        assert row["data_share"] == pytest.approx(row["data_seconds"] / row["seconds"])
        assert 0 < row["data_share"] < 1
    whole = sum(row["data_seconds"] for row in timing) / sum(row["seconds"] for row in timing)
    assert manifest["data_share"] == pytest.approx(whole)
    assert set(manifest["backend"].split("+")) <= {"torch", "cpp"} and manifest["seed"] == 0
    assert yaml.safe_load((result.run_dir / "config.yaml").read_text())["trainer"]["epochs"] == 2
    test = json.loads((result.run_dir / "test.json").read_text())
    assert test["metrics"] == result.test
    assert sum(map(sum, test["confusion_matrix"])) == 359
    assert [r["epoch"] for r in rows(result, "validation")] == [1, 2]
    assert not [p for p in result.run_dir.rglob("*") if p.name.startswith(".")]


def test_the_same_seed_gives_the_same_weights_and_another_does_not(tiny_run: Run) -> None:
    first, again, other = tiny_run(), tiny_run(), tiny_run("seed=1")
    assert largest_difference(weights(first), weights(again)) == 0
    assert largest_difference(weights(first), weights(other)) > 0


def test_accumulation_does_not_change_the_step(tiny_run: Run) -> None:
    """Without batch statistics the mean gradient is the same, however the batch is divided."""
    options = (
        "model.norm=instance",
        "optimizer=sgd",
        "trainer.max_grad_norm=0.5",
        "penalty.l1_decay=1e-4",
    )
    whole = tiny_run(*options)
    parts = tiny_run(*options, "trainer.accumulation=4")
    assert largest_difference(weights(whole), weights(parts)) < 1e-5


def test_clipping_bounds_the_step(tiny_run: Run) -> None:
    options = (
        "optimizer=sgd",
        "optimizer.weight_decay=0",
        "optimizer.momentum=0",
        "optimizer.nesterov=false",
        "optimizer.lr=1",
        "trainer.limit_steps=1",
    )
    start = weights(tiny_run(*options, "optimizer.lr=1e-30"))
    clipped = weights(tiny_run(*options, "trainer.max_grad_norm=0.01"))
    floating = [k for k in start if start[k].is_floating_point() and "running" not in k]
    length = sum(float((clipped[k] - start[k]).square().sum()) for k in floating) ** 0.5
    assert length == pytest.approx(0.01, rel=1e-3)


OVERFIT = ("debug=overfit", "trainer.limit_steps=null", "trainer.epochs=15")


@pytest.mark.parametrize(
    "optimizer, lr", [("adamw", 1e-2), ("sgd", 0.1), ("lion", 3e-3), ("lamb", 2e-2), ("lbfgs", 1.0)]
)
def test_every_optimizer_learns(tiny_run: Run, optimizer: str, lr: float) -> None:
    epochs = 4 if optimizer == "lbfgs" else 15  # of which each step evaluates many times
    words = [f"optimizer={optimizer}", f"optimizer.lr={lr}", *OVERFIT, f"trainer.epochs={epochs}"]
    losses = [r["loss"] for r in rows(tiny_run(*words), "train")]
    assert losses[-1] < 0.7 * losses[0]


def test_overfit_reaches_every_image_of_its_batch(tiny_run: Run) -> None:
    result = tiny_run(*OVERFIT, "model.layer_sizes=[16,16,32,32]", "model.head=linear",
                      "trainer.epochs=40", "optimizer.lr=1e-2")  # fmt: skip
    assert rows(result, "train")[-1]["accuracy"] == 1.0


@pytest.mark.parametrize("option", [
    "loss=focal", "loss=bce", "augment=mixup", "augment=cutmix", "penalty.l1_decay=1e-3",
    "penalty.activation_l1=0.1", "penalty.activation_l2=0.1", "trainer.max_grad_norm=1e-3",
    "scheduler=cosine", "scheduler=onecycle", "scheduler=polynomial", "optimizer.weight_decay=0.5",
    "trainer.precision=bf16", "loss.label_smoothing=0.3",
])  # fmt: skip
def test_the_option_changes_training(
    tiny_run: Run, smoothed: dict[str, Tensor], option: str
) -> None:
    extra = ["scheduler.warmup=2"] if option == "scheduler=polynomial" else []
    changed = weights(tiny_run(SMOOTHING, option, *extra))
    assert largest_difference(smoothed, changed) > 1e-7


SMOOTHING = "loss.label_smoothing=0.05"


@pytest.fixture(scope="module")
def smoothed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    """The weights after a run without further options."""
    folder = tmp_path_factory.mktemp("smoothed")
    return weights(run(load_config("cifar", [*TINY, f"runs_dir={folder}", SMOOTHING])))


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_follows_float32(tiny_run: Run, precision: str) -> None:
    exact = tiny_run("trainer.limit_steps=2")
    rounded = tiny_run("trainer.limit_steps=2", f"trainer.precision={precision}")
    assert rows(rounded, "train")[0]["loss"] == pytest.approx(
        rows(exact, "train")[0]["loss"], rel=0.02
    )


def test_channels_last_computes_the_same(tiny_run: Run) -> None:
    first, second = (
        tiny_run("optimizer=sgd"),
        tiny_run("optimizer=sgd", "trainer.channels_last=true"),
    )
    assert largest_difference(weights(first), weights(second)) < 1e-4


@pytest.mark.slow
def test_compiled_computes_the_same(tiny_run: Run) -> None:
    options = ("optimizer=sgd", "trainer.limit_steps=2", "penalty.activation_l2=0.1")
    first, second = tiny_run(*options), tiny_run(*options, "trainer.compile=true")
    assert largest_difference(weights(first), weights(second)) < 1e-4


def test_the_moving_average_is_what_is_validated_and_kept(tiny_run: Run) -> None:
    plain, averaged = tiny_run(), tiny_run("trainer.ema_decay=0.5")
    assert largest_difference(weights(plain), weights(averaged)) == 0
    ema = read_tensors(sorted((averaged.run_dir / "checkpoints").iterdir())[-1] / "ema.safetensors")
    assert largest_difference(ema, weights(averaged)) > 0
    assert largest_difference(ema, read_tensors(averaged.run_dir / "best.safetensors")) == 0


def test_a_loss_that_is_not_finite_stops_the_run(
    tiny_run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    compute = Classification.training_loss
    calls = {"n": 0}

    def broken(self: Classification, *arguments: object) -> tuple:
        calls["n"] += 1
        loss, logits, logs = compute(self, *arguments)  # type: ignore[arg-type]
        return (loss * float("nan") if calls["n"] == 3 else loss), logits, logs

    monkeypatch.setattr(Classification, "training_loss", broken)
    with pytest.raises(TrainingError) as caught:
        tiny_run("trainer.checkpoint_steps=2", "optimizer.lr=0.0123")
    message = str(caught.value)
    assert "nan at step 3" in message and "lr 0.0123" in message
    assert "step-00000002" in message
    (run_dir,) = (tmp_path / "run").iterdir()
    assert [p.name for p in (run_dir / "checkpoints").iterdir()] == ["step-00000002"]
    assert json.loads((run_dir / "manifest.json").read_text())["status"] == "failed"


@pytest.mark.parametrize("first", [0.1, float("nan")])
def test_the_best_epoch_is_kept(
    tiny_run: Run, monkeypatch: pytest.MonkeyPatch, first: float
) -> None:
    evaluate, values = Trainer.evaluate, iter([first, 0.9, float("nan"), 0.0])

    def scripted(self: Trainer, loader: object) -> tuple:
        result, metrics = evaluate(self, loader)  # type: ignore[arg-type]
        return {**result, "accuracy": next(values)}, metrics

    monkeypatch.setattr(Trainer, "evaluate", scripted)
    result = tiny_run("trainer.epochs=3", "trainer.keep_last=3")
    assert result.best_epoch == 2
    second = read_tensors(result.run_dir / "checkpoints" / "step-00000008" / "model.safetensors")
    assert largest_difference(second, read_tensors(result.run_dir / "best.safetensors")) == 0


def test_an_unknown_monitor_is_refused(tiny_run: Run) -> None:
    with pytest.raises(ConfigError, match="did you mean 'accuracy'"):
        tiny_run("trainer.monitor=acuracy")


def test_test_data_is_read_once_after_training(
    tiny_run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from experiments import data

    load, read = data.load_datasets, []

    class Watched:
        def __init__(self, inner: object) -> None:
            self.inner, self.classes = inner, inner.classes  # type: ignore[attr-defined]

        def __len__(self) -> int:
            return len(self.inner)  # type: ignore[arg-type]

        def __getitem__(self, index: int) -> tuple:
            read.append(index)
            return self.inner[index]  # type: ignore[index]

    def watched(cfg: object) -> object:
        parts = load(cfg)  # type: ignore[arg-type]
        return parts._replace(test=Watched(parts.test))

    steps = []
    record = Trainer.record
    monkeypatch.setattr(data, "load_datasets", watched)
    monkeypatch.setattr(
        Trainer, "record", lambda self, *a: (steps.append(len(read)), record(self, *a))[1]
    )
    tiny_run()
    (before,) = set(steps)  # the door looks at a sample of every split
    assert len(set(read[:before])) <= 64 and sorted(read[before:]) == list(range(359))


@pytest.mark.parametrize("launcher", ["ACCELERATE_MIXED_PRECISION", "TORCHELASTIC_RUN_ID", None])
def test_launchers_do_not_leave_cores_idle(
    monkeypatch: pytest.MonkeyPatch, launcher: str | None
) -> None:
    chosen: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", chosen.append)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    for name in ("ACCELERATE_MIXED_PRECISION", "TORCHELASTIC_RUN_ID", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    if launcher is not None:
        monkeypatch.setenv(launcher, "no")
    set_threads(None, 2)
    assert chosen == ([4] if launcher else [])
    set_threads(3, 2)
    assert chosen[-1] == 3
