"""What a run reads back is what it wrote: foreign, damaged and shortened files are named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from experiments.app import run
from experiments.config.compose import load_config
from experiments.files import read_rows
from experiments.reporting.read import read_run
from tests.experiments.conftest import TINY, Ended, command

EPOCHS = "trainer.epochs=3"
FILES = ("metrics.jsonl", "best.safetensors", "test.json")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run of three epochs, and one of another seed."""
    folder = tmp_path_factory.mktemp("made")
    paths = [
        run(
            load_config("cifar", [*TINY, EPOCHS, "trainer.keep_last=3", f"runs_dir={folder}", seed])
        )
        for seed in ("seed=0", "seed=1")
    ]
    return paths[0].run_dir, paths[1].run_dir


@pytest.fixture
def stopped(made: tuple[Path, Path], tmp_path: Path) -> Path:
    """The first one, as if it had been killed after its second epoch."""
    path = Path(shutil.copytree(made[0], tmp_path / "run" / "old"))
    (path / "test.json").unlink()
    shutil.rmtree(path / "checkpoints" / "step-00000012")
    set_manifest(path, status="running")
    return path


def set_manifest(path: Path, **values: object) -> None:
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps(manifest | values))


def resume(path: Path, *overrides: str) -> Ended:
    options = [*TINY, EPOCHS, f"runs_dir={path.parents[1]}", f"trainer.resume={path}"]
    return command(*options, *overrides)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-3] ^= 4
    path.write_bytes(content)


def same(path: Path, made: Path) -> bool:
    return all((path / name).read_bytes() == (made / name).read_bytes() for name in FILES)


# ------------------------------------------------------------------------------ the best weights
@pytest.mark.parametrize(
    "damage", [pytest.param("flipped", marks=pytest.mark.slow), "foreign", "absent"]
)
def test_best_weights_that_are_not_the_runs_are_written_anew(
    made: tuple[Path, Path], stopped: Path, damage: str
) -> None:
    set_manifest(stopped, status="failed")
    shutil.copytree(made[0] / "checkpoints" / "step-00000012",
                    stopped / "checkpoints" / "step-00000012")  # fmt: skip
    best = stopped / "best.safetensors"
    if damage == "flipped":
        flip(best)
    elif damage == "foreign":
        shutil.copy(made[1] / "best.safetensors", best)
    else:
        best.unlink()
    done = resume(stopped)
    assert done.returncode == 0, done.stderr
    assert "best.safetensors is written anew" in done.stdout
    assert same(stopped, made[0])


def test_best_weights_that_no_checkpoint_has_are_not_tested(
    made: tuple[Path, Path], stopped: Path
) -> None:
    last = stopped / "checkpoints" / "step-00000012"
    shutil.copytree(made[0] / "checkpoints" / last.name, last)
    epoch = json.loads((made[0] / "test.json").read_text())["epoch"]
    if epoch == 3:
        pytest.skip("the last checkpoint has the best weights")
    flip(stopped / "best.safetensors")
    shutil.rmtree(stopped / "checkpoints" / f"step-{4 * epoch:08d}")
    done = resume(stopped)
    assert done.returncode == 2 and "best.safetensors has changed" in done.stderr
    assert not (stopped / "test.json").exists()


def test_a_step_back_forgets_the_best_weights_of_the_future(
    made: tuple[Path, Path], stopped: Path
) -> None:
    """The best file is of epoch 2 or 3, the checkpoint of epoch 1: as if it had never gone on."""
    done = resume(stopped / "checkpoints" / "step-00000004",
                  f"runs_dir={stopped.parents[1]}")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert same(stopped, made[0])


# --------------------------------------------------------------------------------- the checkpoints
def test_a_checkpoint_of_another_run_is_passed_over_and_refused(
    made: tuple[Path, Path], stopped: Path
) -> None:
    foreign = stopped / "checkpoints" / "step-00000099"
    shutil.copytree(made[1] / "checkpoints" / "step-00000012", foreign)
    refused = resume(foreign)
    assert refused.returncode == 2 and "was written by another run" in refused.stderr
    done = resume(stopped, "trainer.keep_last=1")
    assert done.returncode == 0, done.stderr
    assert f"{foreign} was written by another run" in done.stdout
    assert "step-00000008" in done.stdout and same(stopped, made[0])
    names = sorted(p.name for p in (stopped / "checkpoints").iterdir())
    assert names == ["step-00000012", "step-00000099"]


# ------------------------------------------------------------------------------------- the records
@pytest.mark.parametrize("damage", ["shorter", "altered", "longer", "absent"])
def test_rows_are_those_of_the_checkpoint(
    made: tuple[Path, Path], stopped: Path, damage: str
) -> None:
    metrics = stopped / "metrics.jsonl"
    content = metrics.read_bytes()
    if damage == "absent":
        metrics.unlink()
    else:
        changed = {"shorter": content[:100], "altered": b"x" + content[1:], "longer": content * 2}
        metrics.write_bytes(changed[damage])
    done = resume(stopped)
    assert done.returncode == 0, done.stderr
    assert ("written anew" in done.stdout) == (damage != "longer")
    assert same(stopped, made[0])


def test_a_config_that_was_changed_is_named(stopped: Path) -> None:
    config = stopped / "config.yaml"
    config.write_text(config.read_text().replace("lr: 0.001", "lr: 0.003"))
    done = resume(stopped, "optimizer.lr=0.003")
    assert done.returncode == 2 and "optimizer.lr: 0.003 -> 0.001" in done.stderr


def test_a_test_that_is_not_the_runs_is_reported_as_broken_and_done_again(
    made: tuple[Path, Path], tmp_path: Path
) -> None:
    path = Path(shutil.copytree(made[0], tmp_path / "run" / "old"))
    shutil.copy(made[1] / "test.json", path)
    assert "test.json" in read_run(path).status and read_run(path).test == {}
    done = resume(path)
    assert done.returncode == 0 and same(path, made[0]), done.stderr
    assert read_run(path).status == "finished"
    assert "nothing is left" in resume(path).stdout


def test_a_lost_manifest_stops_nobody(made: tuple[Path, Path], stopped: Path) -> None:
    (stopped / "manifest.json").write_text("{")
    done = resume(stopped)
    assert done.returncode == 0 and same(stopped, made[0]), done.stderr
    ids = [json.loads((p / "manifest.json").read_text())["id"] for p in (stopped, made[0])]
    assert ids[0] == ids[1]


# ------------------------------------------------------------------------------------------- facts
def test_what_a_run_is_computed_with_is_compared(
    stopped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    refused = resume(stopped)
    assert refused.returncode == 2 and "run.precision: 'no' -> 'bf16'" in refused.stderr
    monkeypatch.undo()
    monkeypatch.setattr("experiments.runs.manifest.PACKAGES", ("numpy",))
    for key, policy in (("targets", 2), ("classes", 2), ("images", 0)):
        with monkeypatch.context() as patch:
            change_digits(patch, key)
            done = resume(stopped)
        assert done.returncode == policy, (key, done.stderr)
        if key == "targets":
            assert "data.fingerprint: " in done.stderr
        elif key == "classes":
            assert "data.classes: " in done.stderr and "'nought'" in done.stderr
    assert "data.contents: " in done.stdout and "run.versions.timm: " in done.stdout
    told = json.loads((stopped / "manifest.json").read_text())["resumed"][0]["changed"]
    assert {"data.contents", "run.versions.timm"} <= set(told)
    assert len(read_rows(stopped / "metrics.jsonl")) == 6


def change_digits(patch: pytest.MonkeyPatch, key: str) -> None:
    from experiments.data import sources

    load = sources.DATASETS["digits"]

    def changed(cfg):
        data = load(cfg)
        base = data.train.base
        if key == "targets":
            base.targets[0] = (base.targets[0] + 1) % 10
        elif key == "images":
            base.images[:] = base.images // 2
        else:
            data.train.classes[0] = "nought"
        return data

    patch.setitem(sources.DATASETS, "digits", changed)
