"""Killed at random steps and taken up again, a run ends bit for bit as if it had never stopped."""

from __future__ import annotations

import json
import random
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests import forks
from tests.experiments.data.generated_data import write_shards
from tests.experiments.training.fingerprint import fingerprint
from tests.forks import Ended

DRIVER = str(Path(__file__).with_name("resume_driver.py"))
EPOCHS, STEPS = 2, 6
# Everything that has a state: workers, accumulation, augmentation, copies, mixing, dropout,
# momentum, schedule, moving average, penalties, batch statistics.
DIGITS = ["data=digits", "data.train_size=400"]
OVERRIDES = [
    "data.image_size=16", "data.workers=1", "data.repeats=2", "augment=basic",
    "augment.policy=random_augment", "augment.erasing=0.5", "augment.erasing_mode=pixel",
    "augment.mixup=0.4", "augment.cutmix=1.0", "augment.mix_mode=elem", "augment.size=12",
    "seeds.shuffle=3",
    "model=simple_conv_kagn", "model.layer_sizes=[4,4,8,8]",
    "model.dropout=0.1", "penalty.l1_decay=1e-5", "penalty.activation_l2=1e-4",
    "scheduler=onecycle", "trainer.batch_size=32", "trainer.accumulation=2",
    f"trainer.epochs={EPOCHS}", f"trainer.limit_steps={STEPS}", "trainer.checkpoint_steps=2",
    "trainer.ema_decay=0.9", "trainer.cpu=true", "name=run",
]  # fmt: skip


# What transformers are trained with beside: mixed targets, paths that are dropped, blocks computed
# again, learning rates by layer; killed within one epoch.
TRANSFORMER = [
    "data.image_size=8", "data.workers=0", "data.repeats=3", "augment=none",
    "augment.mixup=0.8", "augment.cutmix=1.0", "augment.erasing=0.25", "loss.label_smoothing=0.1",
    "model=kat", "model.image_size=8", "model.patch_size=4", "model.width=16", "model.depth=2",
    "model.heads=2", "model.groups=4", "model.drop_path=0.3", "model.layer_scale=0.1",
    "model.grad_checkpointing=true",
    "optimizer.layer_decay=0.7", "scheduler.warmup=3", "scheduler.lr_start=1e-6",
    "scheduler.lr_end=1e-5", "trainer.batch_size=32", "trainer.accumulation=2",
    "trainer.epochs=1", f"trainer.limit_steps={EPOCHS * STEPS}", "trainer.checkpoint_steps=2",
    "trainer.ema_decay=0.9", "trainer.cpu=true", "name=run",
]  # fmt: skip


def launch(
    runs: Path,
    processes: int,
    *extra: str,
    kill: list[int] | None = None,
    data: Sequence[str] = DIGITS,
    overrides: Sequence[str] = OVERRIDES,
) -> list[Ended]:
    """Train, with a signal at [step, micro-batch, rank, signal]; one result for each process."""
    script = ["cifar.py"] if kill is None else [DRIVER, json.dumps(kill)]
    arguments = [*script, *data, *overrides, f"runs_dir={runs}", *extra]
    return forks.run(*arguments, processes=processes, ACCELERATE_USE_CPU="1")


def codes(results: list[Ended]) -> set[int]:
    return {result.returncode for result in results}


def printed(results: list[Ended]) -> str:
    """What the first process, which speaks for all, has printed."""
    return results[0].stdout + results[0].stderr


def run_directory(runs: Path) -> Path:
    (path,) = (runs / "run").iterdir()
    return path


def bits(runs: Path) -> dict[str, str]:
    found = fingerprint(run_directory(runs))
    assert found["last"] == f"step-{EPOCHS * STEPS:08d}"
    return found


ALONE = [pytest.param(1, backend, marks=pytest.mark.slow) for backend in ("torch", "cpp")]


@pytest.mark.parametrize(("processes", "backend"), [*ALONE, (2, "cpp")])
def test_five_kills_leave_no_trace(tmp_path: Path, processes: int, backend: str) -> None:
    points = sorted(random.Random(processes).sample(range(2, EPOCHS * STEPS), 5))
    resume, kernels = "trainer.resume=auto", f"model.backend={backend}"
    whole = launch(tmp_path / "whole", processes, kernels)
    assert codes(whole) == {0}, printed(whole)
    for point in points:
        kill = [point, point % 2, point % processes, signal.SIGKILL]
        killed = launch(tmp_path / "killed", processes, resume, kernels, kill=kill)
        assert -signal.SIGKILL in codes(killed), printed(killed)
        assert "test split" not in printed(killed)
    last = launch(tmp_path / "killed", processes, resume, kernels)
    assert codes(last) == {0}, printed(last)
    assert "resumed from" in printed(last)
    assert bits(tmp_path / "whole") == bits(tmp_path / "killed")


def test_three_kills_within_an_epoch_leave_no_trace_in_a_transformer(tmp_path: Path) -> None:
    whole = launch(tmp_path / "whole", 1, overrides=TRANSFORMER)
    assert codes(whole) == {0}, printed(whole)
    for point, micro_batch in ((3, 1), (6, 0), (9, 1)):
        kill = [point, micro_batch, 0, signal.SIGKILL]
        resume = "trainer.resume=auto"
        killed = launch(tmp_path / "killed", 1, resume, kill=kill, overrides=TRANSFORMER)
        assert codes(killed) == {-signal.SIGKILL}, printed(killed)
        assert ("resumed from" in printed(killed)) == (point > 3)
    last = launch(tmp_path / "killed", 1, "trainer.resume=auto", overrides=TRANSFORMER)
    assert codes(last) == {0} and "step-00000008" in printed(last), printed(last)
    assert bits(tmp_path / "whole") == bits(tmp_path / "killed")


def test_a_kill_on_shards_leaves_no_trace(tmp_path: Path) -> None:
    """Their order is the loader's own; whether decoded images are kept may change on the way."""
    write_shards(tmp_path / "shards", "train", [100, 60, 80], size=(16, 16))
    write_shards(tmp_path / "shards", "val", [20], size=(16, 16))
    data = ["data=imagenet", f"data.root={tmp_path}/shards", "data.validation_fraction=0.1"]
    whole = launch(tmp_path / "whole", 1, data=data)
    assert codes(whole) == {0}, printed(whole)
    killed = launch(tmp_path / "killed", 1, data=data, kill=[8, 1, 0, signal.SIGKILL])
    assert codes(killed) == {-signal.SIGKILL}, printed(killed)
    cache = f"data.cache={tmp_path}/kept"
    last = launch(tmp_path / "killed", 1, "trainer.resume=auto", cache, data=data)
    assert codes(last) == {0} and "step-00000008" in printed(last), printed(last)
    assert bits(tmp_path / "whole") == bits(tmp_path / "killed")


@pytest.mark.parametrize(
    ("number", "processes"),
    [
        (signal.SIGTERM, 2),
        (signal.SIGINT, 1),
        pytest.param(signal.SIGTERM, 1, marks=pytest.mark.slow),
        pytest.param(signal.SIGINT, 2, marks=pytest.mark.slow),
    ],
)
def test_a_polite_stop_saves_at_once_and_says_how_to_resume(
    tmp_path: Path, processes: int, number: int
) -> None:
    once = "trainer.checkpoint_steps=null"
    kill = [2, 0, processes - 1, number]
    stopped = launch(tmp_path / "stopped", processes, once, kill=kill)
    assert codes(stopped) == {128 + number}, printed(stopped)
    assert f"trainer.resume={run_directory(tmp_path / 'stopped')}" in printed(stopped)
    assert "step 3 is saved" in printed(stopped)
    resumed = launch(tmp_path / "stopped", processes, once, "trainer.resume=auto")
    assert codes(resumed) == {0} and "step-00000003" in printed(resumed)
    whole = launch(tmp_path / "whole", processes, once)
    assert codes(whole) == {0}, printed(whole)
    assert bits(tmp_path / "whole") == bits(tmp_path / "stopped")
