"""What a continuation may change, and what a config of an earlier version means."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from experiments.config.compose import load_config
from experiments.config.optim import OPTIMIZERS, SCHEDULERS
from experiments.config.parse import PLAIN_GROUPS, to_dict
from experiments.config.resume import (
    FREE,
    RECORDED,
    REFUSED,
    RESUME,
    complete,
    differences,
    flatten,
    policy,
)
from experiments.config.schema import Config
from experiments.files import read_rows
from experiments.tasks.rows import TASKS
from tests.experiments.conftest import Ended, command

OLD_RUN = Path(__file__).resolve().parents[2] / "golden" / "run_of_november"


# ------------------------------------------------------------------------------------- the table
def all_keys() -> Iterator[str]:
    """Every key that a config can have."""
    groups: dict[str, list[type]] = {name: [cls] for name, cls in PLAIN_GROUPS.items()}
    groups |= {"optimizer": list(OPTIMIZERS.values()), "scheduler": list(SCHEDULERS.values())}
    for task in TASKS.values():
        groups.setdefault("loss", []).extend(task.losses.values())
        groups.setdefault("task", []).append(task.options)
        groups.setdefault("metrics", []).append(task.metrics)
    for name in (f.name for f in fields(Config)):
        if name not in groups:
            yield name
        for cls in groups.get(name, ()):
            yield from (f"{name}.{f.name}" for f in fields(cls))


def test_every_key_has_its_row_and_every_row_its_key() -> None:
    keys = set(all_keys())
    covered = {key if key in RESUME else key.partition(".")[0] for key in keys}
    assert covered - set(RESUME) == set(), "say of a new key whether a resume may change it"
    assert set(RESUME) - covered - {"model.backend"} == set(), "rows without a key"
    assert set(RESUME.values()) == {FREE, RECORDED, REFUSED}


def test_groups_whose_keys_differ_have_a_row_for_each() -> None:
    """A new key of data or trainer must be decided: the group has no row that would cover it."""
    assert not {"data", "trainer"} & set(RESUME)


def test_what_is_unknown_is_refused() -> None:
    assert policy("optimizer.momentum_of_the_future") == policy("from.the.future") == REFUSED
    assert policy("tracker.name") == FREE and policy("model.backend") == RECORDED


# ---------------------------------------------------------------------------------- saved configs
def test_a_key_that_a_saved_config_lacks_changes_nothing() -> None:
    now = to_dict(load_config("cifar", ["data=digits"]))
    saved = json.loads(json.dumps(now))
    del saved["seeds"], saved["data"]["repeats"], saved["augment"]["mix_mode"]
    del saved["task"], saved["trainer"]["start_from"], saved["data"]["train_size"]
    del saved["model"]["outer"], saved["metrics"]["auc_max_classes"]
    assert differences(saved, now) == {}
    assert complete(saved) == now
    saved["model"]["degree"] = 4
    assert differences(saved, now) == {"model.degree": (4, 3)}


def test_a_key_of_another_version_is_a_difference() -> None:
    now = to_dict(load_config("cifar", ["data=digits"]))
    saved = now | {"trainer": now["trainer"] | {"gone": 1}}
    assert differences(saved, now) == {"trainer.gone": (1, None)}


# ----------------------------------------------------------------------------- a run of last month
def command_of(folder: Path, *overrides: str) -> Ended:
    """The command that wrote the old run, in words: the options of its config."""
    saved = yaml.safe_load((OLD_RUN / "config.yaml").read_text())
    groups = ["data", "model", "optimizer", "scheduler", "loss", "tracker"]
    chosen = [f"{group}={saved[group]['name']}" for group in groups]
    keys = dict(flatten(saved))
    keys |= {"runs_dir": str(folder), "trainer.resume": "auto", "data.workers": 0}
    values = [
        f"{key}={json.dumps(value)}"
        for key, value in keys.items()
        if key.split(".")[1:] != ["name"]
    ]
    return command(*chosen, *values, *overrides)


@pytest.fixture
def old_run(tmp_path: Path) -> Path:
    return Path(shutil.copytree(OLD_RUN, tmp_path / "run" / "2026-11-25_22-30-09-seed0"))


def test_a_run_that_an_earlier_version_began_is_finished(tmp_path: Path, old_run: Path) -> None:
    done = command_of(tmp_path)
    assert done.returncode == 0, done.stderr
    assert "resumed from" in done.stdout and "step-00000009" in done.stdout
    rows = {row["split"]: row for row in read_rows(old_run / "metrics.jsonl") if row["epoch"] == 2}
    # As the version that began it ended it: a few steps in float32, on another processor.
    assert rows["train"]["loss"] == pytest.approx(2.3325578967730203, rel=1e-4)
    assert rows["train"]["lr"] == pytest.approx(4e-09, rel=1e-6)
    assert rows["validation"]["loss"] == pytest.approx(2.3151073455810547, rel=1e-4)
    manifest = json.loads((old_run / "manifest.json").read_text())
    assert manifest["status"] == "finished"
    assert [entry["checkpoint"] for entry in manifest["resumed"]] == ["step-00000009"]


def test_what_must_not_change_is_named_and_what_may_is_recorded(
    tmp_path: Path, old_run: Path
) -> None:
    resume = f"trainer.resume={old_run}"
    refused = command_of(tmp_path, resume, "optimizer.lr=0.01", "trainer.keep_last=1")
    assert refused.returncode == 2 and "optimizer.lr: 0.001 -> 0.01" in refused.stderr
    assert "keep_last" not in refused.stderr
    taken_up = command_of(tmp_path, resume, "trainer.deterministic=false", "trainer.keep_last=1")
    assert taken_up.returncode == 0, taken_up.stderr
    assert "trainer.deterministic: True -> False" in taken_up.stdout
    manifest = json.loads((old_run / "manifest.json").read_text())
    assert manifest["resumed"][0]["changed"] == {"trainer.deterministic": [True, False]}
