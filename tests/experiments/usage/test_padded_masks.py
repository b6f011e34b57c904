"""A network that saw padded images: its masks are of the image alone, wherever they are made."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from experiments.app import run as train
from experiments.config.compose import load_config
from experiments.runs import evaluation_files
from experiments.usage import load_run
from experiments.usage.evaluate import main as evaluate
from experiments.usage.export import main as export
from experiments.usage.predict import main as predict
from experiments.usage.recompose import recompose
from experiments.usage.standalone import write_program, write_transform
from experiments.usage.transform import ImageTransform
from tests.experiments.conftest import unrendered
from tests.experiments.data.mask_data import mask_of, picture, save
from tests.experiments.usage.test_export import program, without_torch

# (width, height) -> rows and columns of an input of 24 x 32 (H x W), by hand; of no image does the
# centre of a pixel lie between two pixels of the input
PLACES = {
    (20, 40): (slice(0, 24), slice(10, 22)),  # tall: s = 0.6, 24 x 12
    (64, 14): (slice(8, 15), slice(0, 32)),  # wide: s = 0.5, 7 x 32
    (20, 16): (slice(0, 24), slice(1, 31)),  # s = 1.5, 24 x 30
    (32, 24): (slice(0, 24), slice(0, 32)),
    (12, 24): (slice(0, 24), slice(10, 22)),  # not resized
    (32, 8): (slice(8, 16), slice(0, 32)),
}
SETTINGS = [
    "data=mask_folder", "data.classes={background: 0, cat: 128, dog: 255}", "data.resize=pad",
    "data.image_size=[24,32]", "data.validation_fraction=0.2", "model=unet", "model.depth=2",
    "model.width_scale=0.25", "model.norm=instance", "augment=none", "scheduler=constant",
    "augment.horizontal_flip=true", "augment.crop_padding=4", "trainer.batch_size=4",
    "trainer.epochs=1", "trainer.limit_steps=2", "trainer.progress=false", "name=run",
]  # fmt: skip


@pytest.fixture(scope="module")
def padded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on a folder of images of several shapes; which stays, for its evaluation."""
    place = tmp_path_factory.mktemp("padded")
    for number in range(18):
        size = list(PLACES)[number % len(PLACES)]
        picture(place / "data" / "images" / f"{number}.png", size, number)
        mask = mask_of((0, 128, 255), size, number)
        save(place / "data" / "masks" / f"{number}.png", mask)
    config = load_config(
        "segmentation", [*SETTINGS, f"data.root={place}/data", f"runs_dir={place}"]
    )
    with unrendered():
        return train(config).run_dir


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shown")
    for number, size in enumerate(PLACES):
        picture(folder / f"{number}.png", size, 100 + number)
    return folder


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def maps_of(run, path: Path) -> torch.Tensor:
    with torch.inference_mode():
        return run.answers.outputs(run.model, run.transform(path)[None])[0]


def test_the_run_describes_its_border_and_is_evaluated_again(
    padded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule = load_run(padded).description.preprocessing
    assert rule.pad and not rule.stretch and rule.sides == (24, 32)
    monkeypatch.setattr(evaluation_files, "draw_each", lambda *_: [])
    assert evaluate([str(padded), "--out", str(tmp_path)]) == 0
    (found,) = tmp_path.glob("*.json")
    test = json.loads((padded / "test.json").read_text())
    assert json.loads(found.read_text())["metrics"] == test["metrics"]


def test_masks_shares_and_certainty_are_of_the_image_alone(
    padded: Path, shown: Path, tmp_path: Path
) -> None:
    run, out = load_run(padded), tmp_path / "masks.csv"
    assert predict([str(padded), str(shown), "--out", str(out), "--batch-size", "4"]) == 0
    seen = set()
    for row, (size, (rows, columns)) in zip(rows_of(out), PLACES.items(), strict=True):
        maps = maps_of(run, Path(row["path"]))[:, rows, columns]
        classes, (width, height) = maps.argmax(0), size
        down = ((torch.arange(height) + 0.5) * classes.shape[0] / height).long()
        across = ((torch.arange(width) + 0.5) * classes.shape[1] / width).long()
        mask = Image.open(row["mask"])
        assert mask.size == size
        assert np.array_equal(np.asarray(mask), classes[down][:, across].numpy())
        shares = [float((classes == c).double().mean()) for c in range(3)]
        assert [float(row[f"share of {name}"]) for name in run.class_names] == pytest.approx(shares)
        certainty = float(maps.softmax(0).amax(0).mean())
        assert float(row["certainty"]) == pytest.approx(certainty, rel=1e-5)
        image = np.asarray(Image.open(row["path"]), dtype=float)
        overlay = np.asarray(Image.open(row["overlay"]), dtype=float)
        plain = np.asarray(mask) == 0
        assert overlay.shape == image.shape and np.array_equal(overlay[plain], image[plain])
        seen |= set(classes.unique().tolist())
    assert len(seen) > 1


def test_without_a_border_nothing_is_cut(padded: Path) -> None:
    run = load_run(padded)
    rule = replace(run.description.preprocessing, pad=False, stretch=True)
    answers = type(run.answers)(replace(run.description, preprocessing=rule), run.answers.options)
    maps = torch.rand(3, 24, 32)
    assert torch.equal(answers.inside(maps, (40, 20)), maps)
    volumes = type(answers)(replace(run.description, preprocessing=None), answers.options)
    maps = torch.rand(3, 8, 8, 8)
    assert torch.equal(volumes.inside(maps, (40, 20)), maps)


def test_the_program_cuts_as_predict_does(
    padded: Path, shown: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of images that are resized, with maps that are given: their pixels may be rounded apart."""
    monkeypatch.chdir(tmp_path)
    run = load_run(padded)
    source = write_program(tmp_path, run.answers, run.transform.program).read_text()
    write_transform(tmp_path, run.description)
    names, transform = program(source, tmp_path), ImageTransform(run.description)
    output = torch.randn(3, 24, 32, generator=torch.Generator().manual_seed(0))
    for path, (size, (rows, columns)) in zip(sorted(shown.iterdir()), PLACES.items(), strict=True):
        image = names["load"](path)
        names["show"](str(path), image, output.numpy())
        expected = run.answers.files(image, run.answers.inside(output, size[::-1]))["mask"]
        found = np.asarray(Image.open(f"{path.stem}_mask.png"))
        assert found.shape == size[::-1] and np.array_equal(found, np.asarray(expected))
        assert np.array_equal(names["inside"](output[0].numpy(), image), output[0, rows, columns])
        worst = np.abs(transform(path).numpy() - names["prepare"](image)[0]).max()
        assert worst <= 1.01 / 255 / min(run.description.preprocessing.std) + 1e-6


@pytest.mark.slow
def test_onnx_gives_the_masks_of_predict(padded: Path, shown: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    files = [str(shown / f"{number}.png") for number in (3, 4, 5)]  # no pixel is rounded
    assert export([str(padded), "--format", "onnx", "--out", str(tmp_path)]) == 0
    predict([str(padded), *files, "--out", str(tmp_path / "eager.csv")])
    printed = [line.split(",") for line in without_torch(tmp_path, *files).splitlines()]
    for line, row in zip(printed, rows_of(tmp_path / "eager.csv"), strict=True):
        masks = [np.asarray(Image.open(path)) for path in (tmp_path / line[1], row["mask"])]
        assert line[0] == row["path"] and np.array_equal(*masks)


@pytest.mark.parametrize(
    ("overrides", "rule", "again"),
    [
        ([], "pad", False),
        (["data=pets"], "pad", False),
        (["data=pets", "data.image_size=40"], "pad", True),
        (["data.resize=squash"], "squash", True),
    ],
)
def test_an_evaluation_shows_images_as_the_run_did(
    padded: Path, overrides: list[str], rule: str, again: bool
) -> None:
    run = load_run(padded)
    asked = recompose(run.config, run.description, overrides)
    assert (asked.config.data.resize, asked.repixelled) == (rule, again)
