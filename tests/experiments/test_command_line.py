"""What a person sees who types a command: the way on, no traceback, nothing lost."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
import torch
from PIL import Image

from experiments.config.data import DataConfig
from experiments.config.parse import to_dict
from experiments.data import load_datasets
from tests.experiments.conftest import TINY, Ended, command, shell


def failed(process: Ended, *words: str) -> None:
    """The command ended with exit code 2 and one message that holds all words."""
    assert process.returncode == 2, process.stderr
    assert "Traceback" not in process.stderr + process.stdout
    message = process.stderr.partition("error: ")[2]
    for word in words:
        assert word in message, process.stderr


@pytest.mark.parametrize("override, words", [
    ("trainer.epoch=3", ["trainer.epoch", "did you mean 'trainer.epochs'"]),
    ("trainer.epochs=many", ["trainer.epochs='many'", "int"]),
    ("model=vggkag", ["did you mean 'vggkagn'"]),
    ("data=digit", ["did you mean 'digits'"]),
    ("model.groups=3", ["groups=3", "divide"]),
])  # fmt: skip
def test_mistakes_cost_a_message(tmp_path: Path, override: str, words: list[str]) -> None:
    failed(command(*TINY, override, f"runs_dir={tmp_path}"), *words)
    assert not list(tmp_path.iterdir())


def test_a_get_data_that_launch_was_not_given_is_not_passed_over(tmp_path: Path) -> None:
    script = tmp_path / "own.py"
    script.write_text(
        "from experiments.app import launch\n\n"
        "def get_data(cfg):\n    raise SystemExit(7)\n\n"
        'if __name__ == "__main__":\n    launch("cifar")\n'
    )
    failed(shell(str(script), *TINY), "own.py defines get_data", 'type launch("cifar", get_data)')


def test_absent_data_names_folder_files_and_the_way_on(tmp_path: Path) -> None:
    failed(
        command(f"data.root={tmp_path}/images", "data.download=false", f"runs_dir={tmp_path}/runs"),
        str(tmp_path / "images"),
        "cifar-10",
        "data=digits",
    )
    assert not (tmp_path / "runs").exists()


def test_help_shows_the_groups() -> None:
    shown = shell("cifar.py", "--help").stdout
    for word in (
        "model:",
        "vggkagn",
        "data:",
        "fashion_mnist",
        "optimizer:",
        "lbfgs",
        "quickstart",
    ):
        assert word in shown


def test_multirun_trains_every_seed_and_the_report_joins_them(tmp_path: Path) -> None:
    done = shell("cifar.py", *TINY, f"runs_dir={tmp_path}", "--multirun", "seed=0,1")
    assert done.returncode == 0, done.stderr
    runs = sorted((tmp_path / "run").iterdir())
    assert [r.name.rpartition("seed")[2] for r in runs] == ["0", "1"]
    assert (tmp_path / "multirun.yaml").is_file()
    report = shell("-m", "experiments.report", str(tmp_path), "--format", "csv")
    header, row = report.stdout.splitlines()
    assert "simple_conv_kagn" in row and "digits" in row and len(header.split(",")) > 8


def test_a_folder_of_images_trains_and_a_broken_one_is_named(tmp_path: Path) -> None:
    images = load_datasets(DataConfig()).train
    for i in range(120):
        image, label = images[i]
        folder = tmp_path / "images" / "train" / f"digit{label}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[0].numpy()).save(folder / f"{i}.png")
    shutil.copytree(tmp_path / "images" / "train", tmp_path / "images" / "test")
    options = [
        *TINY,
        "data=folder",
        f"data.root={tmp_path}/images",
        "data.image_size=16",
        "data.workers=1",
        f"runs_dir={tmp_path}/runs",
        "trainer.batch_size=16",
        "trainer.limit_steps=null",
        "trainer.epochs=2",
    ]
    broken = next((tmp_path / "images" / "train").glob("digit1/*.png"))
    whole = broken.read_bytes()
    broken.write_bytes(whole[:40])
    stopped = command(*options)
    failed(stopped, str(broken))
    broken.write_bytes(whole)
    done = command(*options, "trainer.resume=auto")
    assert done.returncode == 0, done.stderr
    (run,) = (tmp_path / "runs" / "run").iterdir()
    assert (run / "test.json").exists()


def test_a_damaged_or_foreign_checkpoint_is_refused(tmp_path: Path) -> None:
    options = [*TINY, f"runs_dir={tmp_path}", "trainer.epochs=2"]
    assert command(*options).returncode == 0
    (run,) = (tmp_path / "run").iterdir()
    failed(
        command(*options, f"trainer.resume={tmp_path}/nowhere"),
        "does not exist",
        "trainer.resume=auto",
    )
    failed(command(*options, f"trainer.resume={run}", "model.degree=4"), "model.degree: 3 -> 4")
    again = command(*options, f"trainer.resume={run}")
    assert again.returncode == 0 and "finished" in again.stdout
    (run / "test.json").unlink()
    state = run / "checkpoints" / "step-00000008" / "state.pt"
    state.write_bytes(state.read_bytes()[:100])
    failed(
        command(*options, f"trainer.resume={run}"),
        "step-00000008",
        "state.pt",
        "100 of",
        f"trainer.resume={run}/checkpoints/step-00000004",
    )
    good = command(*options, f"trainer.resume={run}/checkpoints/step-00000004")
    assert good.returncode == 0 and (run / "test.json").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="the kernels run on this machine")
def test_a_backend_that_cannot_run_is_a_message(tmp_path: Path) -> None:
    options = [*TINY, f"runs_dir={tmp_path}", "trainer.cpu=true"]
    failed(command(*options, "model.backend=cupy"), "backend='cupy'", "backend='auto'")


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_full_disk_stops_with_a_message_and_keeps_what_was_written(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(disk)])
    if mounted.returncode:
        pytest.skip("this machine does not let tests mount a disk")
    try:
        stopped = command(
            *TINY,
            f"runs_dir={disk}",
            "trainer.epochs=9",
            "trainer.keep_last=50",
            "model.layer_sizes=[4,4,8,16]",
        )
        failed(stopped, "No space left", "resume")
        (run,) = (disk / "run").iterdir()
        last = sorted((run / "checkpoints").glob("step-*"))[-1]
        larger = tmp_path / "larger"
        shutil.copytree(run, larger)
        resumed = command(
            *TINY,
            f"runs_dir={tmp_path}",
            "trainer.epochs=9",
            "model.layer_sizes=[4,4,8,16]",
            f"trainer.resume={larger}/checkpoints/{last.name}",
        )
        assert resumed.returncode == 0, resumed.stderr
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_fashion_mnist_reads_the_original_files(tmp_path: Path) -> None:
    for prefix, count in (("train", 200), ("t10k", 50)):
        pixels = bytes((7 * i) % 256 for i in range(count * 28 * 28))
        labels = bytes(i % 10 for i in range(count))
        with gzip.open(tmp_path / f"{prefix}-images-idx3-ubyte.gz", "wb") as file:
            file.write(struct.pack(">IIII", 2051, count, 28, 28) + pixels)
        with gzip.open(tmp_path / f"{prefix}-labels-idx1-ubyte.gz", "wb") as file:
            file.write(struct.pack(">II", 2049, count) + labels)
    done = command(
        *TINY,
        "data=fashion_mnist",
        f"data.root={tmp_path}",
        "data.image_size=null",
        f"runs_dir={tmp_path}/runs",
    )
    assert done.returncode == 0, done.stderr


def test_two_processes_follow_one(tmp_path: Path) -> None:
    """Same global batch, no batch statistics: the same curve up to rounding, in one directory."""
    options = [
        *TINY,
        "model.norm=instance",
        "optimizer=sgd",
        "trainer.epochs=2",
        "trainer.cpu=true",
    ]
    one = command(*options, f"runs_dir={tmp_path}/one")
    assert one.returncode == 0, one.stderr
    two = shell(
        "-m",
        "torch.distributed.run",
        "--nproc_per_node=2",
        "--master_port=0",
        "--rdzv_backend=c10d",
        "--rdzv_endpoint=localhost:0",
        "cifar.py",
        *options,
        f"runs_dir={tmp_path}/two",
    )
    assert two.returncode == 0, two.stderr
    assert "2 processes (gloo)" in "".join(two.stdout.splitlines()[:3])  # after what gloo says
    assert "32 images per step = 2 x 1 x 16" in two.stdout
    curves = []
    for name in ("one", "two"):
        (run,) = (tmp_path / name / "run").iterdir()
        curves.append([json.loads(line) for line in (run / "metrics.jsonl").open()])
        test = json.loads((run / "test.json").read_text())
        assert sum(map(sum, test["confusion_matrix"])) == 359  # every image exactly once
    for a, b in zip(*curves, strict=True):
        assert b["loss"] == pytest.approx(a["loss"], rel=1e-4)


@pytest.mark.parametrize("tracker", ["tensorboard", pytest.param("wandb", marks=pytest.mark.slow)])
def test_trackers_need_no_account(tmp_path: Path, tracker: str) -> None:
    done = shell(
        "cifar.py",
        *TINY,
        f"tracker={tracker}",
        f"runs_dir={tmp_path}",
        HOME=str(tmp_path),
        WANDB_SILENT="true",
    )
    assert done.returncode == 0, done.stderr
    (run,) = (tmp_path / "run").iterdir()
    names = {p.name for p in run.iterdir()}
    if tracker == "wandb":
        run_id = json.loads((run / "tracker.json").read_text())["id"]
        assert any(run_id in p.name for p in (run / "wandb").iterdir())
    else:
        assert list((run / "tensorboard").rglob("events.out.tfevents.*"))
    assert "metrics.jsonl" in names


def test_the_config_of_a_run_composes_it_again(tmp_path: Path) -> None:
    import yaml

    from experiments.config.compose import load_config
    from experiments.config.parse import parse_config

    config = load_config("cifar", TINY)
    assert parse_config(yaml.safe_load(yaml.safe_dump(to_dict(config)))) == config
