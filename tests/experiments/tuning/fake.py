"""An entry script whose run costs no torch: it writes what a run writes, of a made-up network.

Its validation loss is (log10(lr) + 2)^2 / epoch. Of FAKE_* in the environment: TROUBLE, a JSON of
what goes wrong ({"7": "raise"} for trial 7, see misbehave; "patience" ends it after two epochs, as
trainer.patience does); SECONDS, what an epoch takes; CONFIG, a file with a whole config, over which
its arguments are laid.
"""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

import yaml

from experiments.files import append_line, read_rows, write_json

LR = 1e-3


class ToldError(Exception):
    """A mistake that the message explains."""


def misbehave(kind: str, epoch: int, resumed: bool) -> None:
    """What goes wrong in the second epoch."""
    if epoch != 2:
        return
    if kind == "raise":
        raise ValueError("a layer of the user's own")
    if kind == "nan":
        raise ToldError("the loss is nan at step 4 (epoch 2, lr 1)")
    if kind == "memory":
        raise MemoryError
    if kind == "hang":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(600)
    if kind == "killed" or (kind == "killed once" and not resumed):
        os.kill(os.getpid(), signal.SIGKILL)


def read_values() -> dict[str, Any]:
    """The config that the arguments mean: their values over those of the file FAKE_CONFIG."""
    values: dict[str, Any] = {"optimizer": {"lr": LR}, "trainer": {"resume": None}}
    if file := os.environ.get("FAKE_CONFIG"):
        values = yaml.safe_load(Path(file).read_text())
    for word in sys.argv[1:]:
        key, _, text = word.partition("=")
        *groups, leaf = key.split(".")
        place = values
        for group in groups:
            place = place.setdefault(group, {})
        if not isinstance(place.get(leaf), dict):  # the choice of a group, as the file has it
            place[leaf] = read_value(text)
    return values


def read_value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text.strip("'")


def open_run(values: dict[str, Any]) -> Path:
    resume = values["trainer"].get("resume")
    if resume not in (None, "auto"):
        return Path(resume)
    parent = Path(values["runs_dir"], values["name"])
    parent.mkdir(parents=True, exist_ok=True)
    number = 1 + len(list(parent.iterdir()))
    run = parent / f"run-{number}"
    run.mkdir()
    (run / "config.yaml").write_text(yaml.safe_dump(values))
    degree = values.get("model", {}).get("degree", 3)
    known = {"parameters": 1000 * degree, "macs": 10}
    write_json(run / "manifest.json", {"number": number, **known, "status": "running"})
    return run


def main() -> None:
    values = read_values()
    number = str(int(values["name"].rpartition("-")[2]))
    kind = json.loads(os.environ.get("FAKE_TROUBLE", "{}")).get(number, "")
    lr = float(values["optimizer"]["lr"])
    if kind == "other":
        values["optimizer"]["lr"] = 0.5
    run = open_run(values)
    manifest = json.loads((run / "manifest.json").read_text())
    start = values["trainer"].get("start_from")
    first = int(Path(start).name[-8:]) if start else 0
    done = first + len(read_rows(run / "metrics.jsonl"))
    last = 2 if kind == "patience" else values["trainer"]["epochs"]
    for epoch in range(done + 1, last + 1):
        time.sleep(float(os.environ.get("FAKE_SECONDS", "0")))
        misbehave(kind, epoch, resumed=done > 0)
        loss = (math.log10(lr) + 2) ** 2 / epoch
        folder = run / "checkpoints" / f"step-{epoch:08d}"
        folder.mkdir(parents=True, exist_ok=True)
        before = start if epoch == first + 1 else str(folder.with_name(f"step-{epoch - 1:08d}"))
        history = json.loads((Path(before) / "checkpoint.json").read_text()) if epoch > 1 else {}
        told = [*history.get("history", []), lr]  # the weights of a fake network: its rates
        write_json(folder / "checkpoint.json", {
            "history": told, "files": {"model.safetensors": {"sha256": repr(told)}}})  # fmt: skip
        row = {"split": "validation", "epoch": epoch, "step": epoch, "loss": loss}
        append_line(run / "metrics.jsonl", json.dumps(row | {"accuracy": 1 / (1 + loss)}))
        append_line(run / "trained.log", f"{os.getpid()} {epoch}")
    write_json(run / "manifest.json", {**manifest, "status": "finished", "wall_seconds": 1.0})


if __name__ == "__main__":
    try:
        main()
    except (ToldError, MemoryError) as error:
        said = error if str(error) else "memory has run out\nUse a smaller batch"
        print(f"error: {said}", file=sys.stderr)
        raise SystemExit(2) from error
