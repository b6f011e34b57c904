"""An entry script whose run costs no torch: it writes what a run writes, of a made-up network.

Its validation loss is (log10(lr) + 2)^2 / epoch. FAKE in the environment is a JSON of what goes
wrong: {"7": "raise"} for trial 7; see misbehave. FAKE_SECONDS is what an epoch takes.
"""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

import yaml

from experiments.config.compose import load_config
from experiments.config.parse import to_dict
from experiments.errors import ResourceError, TrainingError
from experiments.files import append_line, read_rows, write_json


def misbehave(kind: str, epoch: int) -> None:
    """What FAKE names, in the second epoch; "once" kinds only in the first process of a run."""
    if epoch != 2:
        return
    if kind == "raise":
        raise ValueError("a layer of the user's own")
    if kind == "nan":
        raise TrainingError("the loss is nan at step 4 (epoch 2, lr 1)")
    if kind == "memory":
        raise MemoryError
    if kind == "hang":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(600)
    if kind == "killed":
        os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    config = load_config("cifar", sys.argv[1:])
    number = config.name.rpartition("-")[2]
    kind = json.loads(os.environ.get("FAKE", "{}")).get(number.lstrip("0") or "0", "")
    resume = config.trainer.resume
    if resume is not None:
        run = Path(resume)
    else:
        parent = Path(config.runs_dir, config.name)
        parent.mkdir(parents=True, exist_ok=True)
        taken = len(list(parent.iterdir()))
        run = parent / f"run-{taken}"
        run.mkdir()
        values = to_dict(config)
        if kind == "other":
            values["optimizer"]["lr"] = 0.5
        (run / "config.yaml").write_text(yaml.safe_dump(values))
        manifest = {"number": taken + 1, "parameters": 1000 * config.model["degree"], "macs": 10}
        write_json(run / "manifest.json", {**manifest, "status": "running"})
    manifest = json.loads((run / "manifest.json").read_text())
    rows = read_rows(run / "metrics.jsonl")
    pace = float(os.environ.get("FAKE_SECONDS", "0"))
    for epoch in range(len(rows) + 1, config.trainer.epochs + 1):
        time.sleep(pace)
        misbehave("" if resume and kind == "killed" else kind, epoch)
        loss = (math.log10(config.optimizer.lr) + 2) ** 2 / epoch
        row = {"split": "validation", "epoch": epoch, "step": epoch, "loss": loss}
        append_line(run / "metrics.jsonl", json.dumps(row | {"accuracy": 1 / (1 + loss)}))
        append_line(run / "trained.log", f"{os.getpid()} {epoch}")
    write_json(run / "manifest.json", {**manifest, "status": "finished", "wall_seconds": 1.0})


if __name__ == "__main__":
    try:
        main()
    except (TrainingError, ResourceError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from error
    except MemoryError as error:
        print("error: memory has run out\nUse a smaller batch", file=sys.stderr)
        raise SystemExit(2) from error
