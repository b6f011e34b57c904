"""Segmentation trains, is judged, selects, draws, stops and goes on as classification does."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from safetensors.torch import load_file

from experiments.app import run
from experiments.config.compose import load_config
from experiments.data.containers import Datasets, TensorImages
from experiments.errors import ConfigError, DataError, UserError
from experiments.files import read_rows
from experiments.reporting.report import main
from experiments.runs.ending import Result
from experiments.tasks import segmentation, windows
from experiments.tasks.base import create_task
from experiments.tasks.overlays import class_colours
from tests import forks
from tests.experiments.resuming import resume_at
from tests.experiments.tasks.rectangles import IGNORE, rectangles, splits
from tests.experiments.training.fingerprint import fingerprint

SCRIPT = "tests/experiments/tasks/rectangles.py"
# data=digits is not read: the script's own get_data is.
TINY = [
    "data=digits", "model=unet", "model.depth=2", "model.width_scale=0.25", "augment=none",
    "model.norm=instance", "scheduler=constant", "optimizer.lr=1e-2", "trainer.batch_size=8",
    "trainer.epochs=2", "trainer.limit_steps=3", "trainer.progress=false", "trainer.cpu=true",
    "name=run",
]  # fmt: skip

LEARNS = ["model.norm=batch", "model.width_scale=0.5", "loss=dice_ce", "trainer.ema_decay=0.5"]


def go(folder: Path, *overrides: str, data=None, entry="segmentation") -> Result:
    config = load_config(entry, [*TINY, f"runs_dir={folder}", *overrides])
    return run(config, splits() if data is None else data)


def test_it_learns_and_writes_what_a_run_has(tmp_path: Path, figures: list[Figure]) -> None:
    result = go(tmp_path, "trainer.epochs=6", "trainer.limit_steps=null", *LEARNS)
    assert result.test["iou"] > 0.5
    rows = [r for r in read_rows(result.run_dir / "metrics.jsonl") if r["split"] == "validation"]
    assert result.best_epoch == max(rows, key=lambda row: row["iou"])["epoch"]
    assert set(rows[0]) > {"iou", "dice", "iou_per_image", "pixel_accuracy", "iou/box 1"}
    test = json.loads((result.run_dir / "test.json").read_text())
    classes = ["background", "box 1", "box 2"]
    assert test["class_names"] == classes and list(test["iou_by_class"]) == classes
    by_class = test["iou_by_class"].values()
    assert test["metrics"]["iou"] == pytest.approx(sum(by_class) / 3)
    assert {path.name for path in result.run_dir.glob("*.png")} == {"curves.png", "overlays.png"}
    names = [{axes.get_ylabel() for axes in figure.axes} for figure in figures]
    assert {"loss", "iou", "iou_per_image"} in names
    overlays = next(figure for figure in figures if "worst" in figure.axes[0].get_ylabel())
    worst = test["examples"]["worst"][0]
    assert overlays.axes[0].get_title() == f"image {worst['index']}"


def test_reports_show_iou(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    result = go(tmp_path)
    capsys.readouterr()
    assert main([str(tmp_path), "--format", "csv"]) == 0
    header, row = capsys.readouterr().out.splitlines()
    column = header.split(",").index("test_iou")
    assert float(row.split(",")[column]) == result.test["iou"]
    assert "accuracy" not in header


@pytest.mark.parametrize("count", [2, 11, 12, 19, 20, 60, 256])
def test_colours_of_classes_are_no_greys_and_differ(count: int) -> None:
    colours = class_colours(count)
    assert colours.shape == (count, 3) and len({tuple(c) for c in colours}) == count
    assert (np.ptp(colours[1:], axis=1) > 0.15).all()  # else they vanish on a grey image


def test_a_picture_shows_the_items_that_it_names(tmp_path: Path, figures: list[Figure]) -> None:
    result = go(tmp_path, data=splits(ignore=True))
    overlays = next(figure for figure in figures if figure.axes[0].get_ylabel() == "worst")
    examples = json.loads((result.run_dir / "test.json").read_text())["examples"]
    test = rectangles(13, seed=2, ignore=True)
    image = test.images[examples["worst"][0]["index"], 0].numpy() / 255
    drawn = overlays.axes[0].get_images()[0].get_array()
    assert abs(drawn[..., 0] - image).max() < 1e-5
    truth = overlays.axes[1].get_images()[0].get_array()
    assert (truth[0] == 1).all()  # its first row is to be ignored


@pytest.mark.parametrize("loss", ["dice_bce", "lovasz", "dice_focal"])
def test_two_classes_have_one_map(tmp_path: Path, loss: str) -> None:
    result = go(tmp_path, f"loss={loss}", data=splits(classes=2))
    manifest = json.loads((result.run_dir / "manifest.json").read_text())
    assert manifest["description"]["num_classes"] == 1
    assert manifest["description"]["class_names"] == ["background", "box 1"]
    assert set(result.test) > {"iou/background", "iou/box 1"}


def test_volumes_are_segmented_too(tmp_path: Path) -> None:
    options = ["model.ndim=3", "loss=dice_ce", "task.window=8", "metrics.hausdorff=true"]
    result = go(tmp_path, *options, data=splits(size=(12, 12, 12), ignore=True))
    assert set(result.test) > {"iou", "hausdorff95"}
    assert (result.run_dir / "overlays.png").is_file()


@pytest.mark.parametrize("ndim", [2, 3])
def test_crops_are_trained_on_and_whole_images_judged_in_windows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ndim: int
) -> None:
    """Whole images pass the network never, also not where it is tried and counted."""
    passed, judged = {"training": set(), "evaluation": set()}, set()

    def watch(place, name: str) -> None:
        original = place.run_padded

        def run_padded(model, images, divisor):
            passed[name].add(tuple(images.shape[2:]))
            return original(model, images, divisor)

        monkeypatch.setattr(place, "run_padded", run_padded)

    def segment(model, images, **options):
        judged.add(tuple(images.shape[2:]))
        return windows.segment(model, images, **options)

    watch(segmentation, "training")
    watch(windows, "evaluation")
    monkeypatch.setattr(segmentation, "segment", segment)
    options = ["augment.size=8", "task.window=10", "augment.crop_padding=2", "trainer.epochs=1"]
    result = go(tmp_path, *options, f"model.ndim={ndim}", data=splits(size=(12,) * ndim))
    assert passed == {"training": {(8,) * ndim, (10,) * ndim}, "evaluation": {(10,) * ndim}}
    assert judged == {(12,) * ndim} and "iou" in result.test
    manifest = json.loads((result.run_dir / "manifest.json").read_text())
    assert manifest["input_shape"] == [1, *(12,) * ndim]


def test_any_size_is_padded_for_a_network_that_needs_it(tmp_path: Path) -> None:
    """Sides of 18, where the encoder halves five times and refuses all others."""
    model = ["model=smp", "model.encoder=resnet18", "trainer.epochs=1"]
    rest = [o for o in TINY if not o.startswith("model")]
    config = load_config("segmentation", [*rest, *model, f"runs_dir={tmp_path}"])
    result = run(config, splits(size=(18, 18), channels=3))
    manifest = json.loads((result.run_dir / "manifest.json").read_text())
    assert manifest["input_shape"] == [3, 18, 18] and "iou" in result.test


def test_deep_supervision_sums_the_losses_and_predicts_by_the_first() -> None:
    overrides = [*TINY, "loss.output_weights=[1.0,0.5,0.0]"]
    task = create_task(load_config("segmentation", overrides), Datasets(*splits()(None)))
    maps = torch.randn(3, 2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    masks = rectangles(2).targets.long()
    task.attach(torch.nn.Identity())
    loss, outputs, _ = task.training_loss(
        lambda images: tuple(maps), torch.zeros(2, 1, 16, 16), masks
    )
    first, second = (task.criterion(part, masks) for part in maps[:2])
    torch.testing.assert_close(loss, first + second / 2)
    assert torch.equal(outputs, maps[0])
    task.config.loss.output_weights = None
    loss, *_ = task.training_loss(lambda images: tuple(maps), torch.zeros(2, 1, 16, 16), masks)
    torch.testing.assert_close(loss, sum(task.criterion(part, masks) for part in maps))


def test_a_u2_network_trains_by_all_of_its_outputs(tmp_path: Path) -> None:
    rest = [o for o in TINY if not o.startswith("model")]
    model = ["model=u2net_small", "model.depths=[2,2,2,2,2,2]", "trainer.epochs=1"]
    config = load_config("segmentation", [*rest, *model, f"runs_dir={tmp_path}"])
    result = run(config, splits())
    row = read_rows(result.run_dir / "metrics.jsonl")[0]
    assert row["loss"] > 3 * result.test["loss"]  # seven outputs, and one
    with pytest.raises(ConfigError, match=r"has 2 weights.*of u2net_small.*there are 7"):
        go_on = [*rest, *model, f"runs_dir={tmp_path}", "loss.output_weights=[1.0,1.0]"]
        run(load_config("segmentation", go_on), splits())


def labels(cfg) -> Datasets:
    images = torch.randint(0, 255, (40, 1, 16, 16), generator=torch.Generator().manual_seed(0))
    data = TensorImages(images.to(torch.uint8), torch.arange(40) % 3, ["a", "b", "c"])
    return Datasets(data, data, data)


def bad_masks(value: int):
    train, validation, test = splits()(None)
    train.targets[3, 2, 2] = value
    return lambda cfg: (train, validation, test)


@pytest.mark.parametrize(("entry", "overrides", "data", "words"), [
    ("segmentation", ["model=simple_conv_kagn"], None, "simple_conv_kagn is for classification"),
    ("cifar", ["model=unet"], None, "unet is for segmentation"),
    ("segmentation", ["loss=focal"], None, "loss=focal is a loss of task=classification"),
    ("cifar", ["loss=dice"], None, "loss=dice is a loss of task=segmentation"),
    ("segmentation", [], labels, "a class for each image.*a mask.*cifar.py"),
    ("cifar", [], splits(128), "a mask for each image.*a class.*segmentation.py"),
    ("segmentation", [], bad_masks(7), "value 7 in 1 of 256 pixels, but there are 3 classes"),
    ("segmentation", ["trainer.monitor=hausdorff95"], None, "metrics.hausdorff=true"),
    ("segmentation", ["task.overlap=1.0"], None, "task.overlap"),
    ("segmentation", ["loss.class_weights=[1.0,2.0]"], None, "there are 3"),
    ("segmentation", ["metrics.auc_max_classes=3"], None, "metrics.auc_max_classes"),
])  # fmt: skip
def test_what_cannot_work_is_told_before_there_is_a_run(
    tmp_path: Path, entry: str, overrides: list[str], data, words: str
) -> None:
    common = ["data=digits", f"runs_dir={tmp_path}", "name=run"]
    model = [] if entry == "cifar" or any(o.startswith("model=") for o in overrides) else TINY
    with pytest.raises(UserError, match=words) as told:
        config = load_config(entry, [*model, *common, *overrides])
        run(config, splits() if data is None else data)
    assert len(str(told.value).splitlines()) <= 2
    assert not list(tmp_path.iterdir())


def test_masks_of_nothing_are_refused(tmp_path: Path) -> None:
    train, validation, test = splits(ignore=True)(None)
    validation.targets[:] = IGNORE
    with pytest.raises(DataError, match="all pixels of the 16 validation masks looked at are 255"):
        go(tmp_path, data=lambda cfg: (train, validation, test))


def test_it_resumes_bit_for_bit(tmp_path: Path) -> None:
    """From the end of an epoch, with all that has a state."""
    options = ["trainer.ema_decay=0.9", "model.dropout=0.1", "trainer.accumulation=2"]
    options += ["loss=dice_ce", "trainer.precision=bf16", "augment.size=8"]
    resume_at(3, go, tmp_path, options)


def launch(runs: Path, *extra: str, processes: int = 1, kill: list[int] | None = None):
    place = [] if kill is None else [json.dumps(kill)]
    arguments = [SCRIPT, *place, *TINY, f"runs_dir={runs}", "trainer.checkpoint_steps=2", *extra]
    return forks.run(*arguments, processes=processes, ACCELERATE_USE_CPU="1")


@pytest.mark.slow
def test_kills_within_an_epoch_leave_no_trace(tmp_path: Path) -> None:
    """Three, two of them in one epoch, on one process."""
    options = ["trainer.limit_steps=6", "trainer.ema_decay=0.9", "model.dropout=0.1"]
    (whole,) = launch(tmp_path / "whole", *options)
    assert whole.returncode == 0, whole.stderr
    for step in (3, 5, 9):
        (killed,) = launch(tmp_path / "killed", *options, "trainer.resume=auto",
                           kill=[step, 0, 0, signal.SIGKILL])  # fmt: skip
        assert killed.returncode == -signal.SIGKILL, killed.stderr
    (last,) = launch(tmp_path / "killed", *options, "trainer.resume=auto")
    assert last.returncode == 0 and "resumed from" in last.stdout, last.stderr
    one, other = (
        fingerprint(next((tmp_path / name / "run").iterdir())) for name in ("whole", "killed")
    )
    assert one == other


@pytest.mark.slow
def test_two_processes_compute_what_one_does(tmp_path: Path) -> None:
    """Up to roundings: losses are means over images, figures are counts."""
    results = []
    for processes in (1, 2):
        folder = tmp_path / str(processes)
        ended = launch(folder, "loss=dice_ce", processes=processes)
        assert {rank.returncode for rank in ended} == {0}, ended[0].stderr
        run_dir = next((folder / "run").iterdir())
        test = json.loads((run_dir / "test.json").read_text())
        results.append((test["metrics"], read_rows(run_dir / "metrics.jsonl")))
        assert (run_dir / "overlays.png").is_file()
    (one, rows), (two, other_rows) = results
    assert one["loss"] == pytest.approx(two["loss"], rel=1e-3)
    assert one["iou"] == pytest.approx(two["iou"], abs=0.02)
    for row, other in zip(rows, other_rows, strict=True):
        assert row["loss"] == pytest.approx(other["loss"], rel=1e-3)


def test_a_run_begins_frozen_and_weighs_by_its_pixels(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    short = ["trainer.epochs=1", "trainer.test=false"]
    parent = go(tmp_path, *short, "loss.class_weights=balanced").run_dir
    assert "loss.class_weights=balanced: from 0." in caplog.text
    child = go(tmp_path, *short, f"model.weights={parent}", "model.freeze=body").run_dir
    before, after = (load_file(path / "best.safetensors") for path in (parent, child))
    moved = {key for key in before if not torch.equal(before[key], after[key])}
    assert moved and all(key.startswith("head.") for key in moved)
    with pytest.raises(ConfigError, match=r"data.balance=true: task=segmentation has no class for"):
        go(tmp_path, "data.balance=true")
