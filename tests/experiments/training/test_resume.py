"""Killed at random steps and taken up again, a run ends bit for bit as if it had never stopped."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

DRIVER = Path(__file__).with_name("resume_driver.py")
EPOCHS, STEPS = 2, 6
# Everything that has a state: workers, accumulation, augmentation, mixing, dropout, momentum,
# schedule, moving average, penalties, batch statistics.
OVERRIDES = [
    "data=digits", "data.workers=1", "data.train_size=400", "augment=basic", "augment.mixup=0.4",
    "model=simple_conv_kagn", "model.layer_sizes=[4,4,8,8]", "model.dropout=0.1",
    "penalty.l1_decay=1e-5", "penalty.activation_l2=1e-4", "scheduler=onecycle",
    "trainer.batch_size=32", "trainer.accumulation=2", f"trainer.epochs={EPOCHS}",
    f"trainer.limit_steps={STEPS}", "trainer.checkpoint_steps=2", "trainer.ema_decay=0.9",
    "trainer.cpu=true", "name=run",
]  # fmt: skip


def spec(runs: Path, processes: int, *extra: str, **kill: list[int]) -> dict:
    arguments = [*OVERRIDES, f"runs_dir={runs}", *extra]
    return {"arguments": arguments, "processes": processes, **kill}


def launch(*specs: dict) -> list[dict]:
    """Run the driver over the launches; one result each."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "1"}
    done = subprocess.run(
        [sys.executable, str(DRIVER), json.dumps(specs)],
        env=env,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def run_directory(runs: Path) -> Path:
    (path,) = (runs / "run").iterdir()
    return path


def fingerprint(runs: Path) -> dict[str, str]:
    """SHA-256 of everything that the computation determines."""
    run = run_directory(runs)
    last = run / "checkpoints" / f"step-{EPOCHS * STEPS:08d}"
    files = [
        last / "model.safetensors",
        last / "ema.safetensors",
        run / "best.safetensors",
        run / "metrics.jsonl",
        run / "test.json",
    ]
    hashes = {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in files}
    state = torch.load(last / "state.pt", weights_only=True)
    hashes["state"] = hashlib.sha256(repr(plain(state)).encode()).hexdigest()
    return hashes


def plain(value: object) -> object:
    """Tensors as bytes inside the same nesting, so that hashes see every bit."""
    if isinstance(value, torch.Tensor):
        return (str(value.dtype), tuple(value.shape), value.contiguous().numpy().tobytes())
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    return value


@pytest.mark.parametrize(("processes", "backend"), [(1, "torch"), (1, "cpp"), (2, "cpp")])
def test_five_kills_leave_no_trace(tmp_path: Path, processes: int, backend: str) -> None:
    points = sorted(random.Random(processes).sample(range(2, EPOCHS * STEPS), 5))
    resume, kernels = "trainer.resume=auto", f"model.backend={backend}"
    whole, *killed, last = launch(
        spec(tmp_path / "whole", processes, kernels),
        *(
            spec(
                tmp_path / "killed",
                processes,
                resume,
                kernels,
                kill=[point, point % 2, point % processes, signal.SIGKILL],
            )
            for point in points
        ),
        spec(tmp_path / "killed", processes, resume, kernels),
    )
    assert set(whole["codes"]) == {0}, whole["output"]
    for result in killed:
        assert -signal.SIGKILL in result["codes"], result["output"]
        assert "test split" not in result["output"]
    assert set(last["codes"]) == {0}, last["output"]
    assert "resumed from" in last["output"]
    assert fingerprint(tmp_path / "whole") == fingerprint(tmp_path / "killed")


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_polite_stop_saves_at_once_and_says_how_to_resume(
    tmp_path: Path, processes: int, number: int
) -> None:
    stopped, resumed, _whole = launch(
        spec(
            tmp_path / "stopped",
            processes,
            "trainer.checkpoint_steps=null",
            kill=[2, 0, processes - 1, number],
        ),
        spec(
            tmp_path / "stopped", processes, "trainer.resume=auto", "trainer.checkpoint_steps=null"
        ),
        spec(tmp_path / "whole", processes, "trainer.checkpoint_steps=null"),
    )
    assert set(stopped["codes"]) == {128 + number}, stopped["output"]
    assert f"trainer.resume={run_directory(tmp_path / 'stopped')}" in stopped["output"]
    assert "step 3 is saved" in stopped["output"]
    assert set(resumed["codes"]) == {0} and "step-00000003" in resumed["output"]
    assert fingerprint(tmp_path / "whole") == fingerprint(tmp_path / "stopped")
