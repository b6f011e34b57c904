"""Exported networks answer as the run does, the ONNX file in a process that has no torch."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from experiments.errors import ConfigError
from experiments.tasks.answers import Answering
from experiments.usage import export as exports
from experiments.usage import load_run
from experiments.usage.export import export, main
from experiments.usage.predict import main as predict
from experiments.usage.standalone import write_program, write_transform
from experiments.usage.transform import ImageTransform

NO_TORCH = "raise ImportError('this process has no torch')"


def without_torch(folder: Path, *arguments: str) -> str:
    """What run_onnx.py prints where importing torch, or this project, fails."""
    hidden = folder / "hidden"
    for name in ("torch", "torchvision", "experiments", "models", "conv_kan"):
        (hidden / name).mkdir(parents=True, exist_ok=True)
        (hidden / name / "__init__.py").write_text(NO_TORCH)
    done = subprocess.run(
        [sys.executable, str(folder / "run_onnx.py"), *arguments],
        cwd=folder, env={"PYTHONPATH": str(hidden)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "name", ["kat", *(pytest.param(name, marks=pytest.mark.slow) for name in ("masks", "kagn"))]
)
def test_onnx_gives_the_predictions_without_torch(
    name: str, runs, pictures: Path, tmp_path: Path, capsys
) -> None:
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    size = load_run(runs(name)).transform.rule.size
    folder, shown = tmp_path / "onnx", tmp_path / "shown"
    shown.mkdir()
    for path in pictures.iterdir():  # at the size of the network: no pixel is rounded
        Image.open(path).resize((size, size)).save(shown / path.name)
    assert main([str(runs(name)), "--format", "onnx", "--out", str(folder)]) == 0
    assert "of the largest output" in capsys.readouterr().out
    found = json.loads((folder / "export.json").read_text())
    assert found["error"] <= 1e-5
    assert found["files"] == ["model.onnx", "transform.json", "run_onnx.py"]
    files = sorted(map(str, shown.iterdir()))
    printed = [line.split(",") for line in without_torch(folder, *files).splitlines()]
    predict([str(runs(name)), str(shown), "--out", str(tmp_path / "eager.csv")])
    with (tmp_path / "eager.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [line[0] for line in printed] == [row["path"] for row in rows] == files
    for line, row in zip(printed, rows, strict=True):
        if name == "masks":
            masks = [np.asarray(Image.open(path)) for path in (folder / line[1], row["mask"])]
            assert np.array_equal(*masks)
        else:
            assert line[1] == row["class"]
            assert float(line[2]) == pytest.approx(float(row["probability"]), rel=1e-5)


def program(source: str, folder: Path) -> dict[str, Any]:
    """The functions of run_onnx.py, without its network and the images that it is given."""
    names: dict[str, Any] = {"__file__": str(folder / "run_onnx.py")}
    lines = [line for line in source.splitlines() if "onnxruntime" not in line]
    exec("\n".join(lines[: lines.index("for path in sys.argv[1:]:")]), names)
    return names


def test_the_program_writes_the_masks_of_predict(runs, pictures, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = load_run(runs("masks"))
    source = write_program(tmp_path, run.answers, run.transform.program).read_text()
    write_transform(tmp_path, run.description)
    names, path = program(source, tmp_path), pictures / "0.png"
    output = torch.randn(11, 48, 48, generator=torch.Generator().manual_seed(0))
    image = Image.open(path)
    names["show"](str(path), image, output.numpy())
    expected = run.answers.files(image.convert("RGB"), output)["mask"]
    assert np.array_equal(np.asarray(Image.open("0_mask.png")), np.asarray(expected))
    assert len(np.unique(np.asarray(expected))) == 11


@pytest.mark.parametrize(
    "rule",
    [
        {},
        {"size": 12},
        {"size": (16, 16), "resize": (18, 19)},
        {"size": (20, 11), "resize": (20, 11), "stretch": True},
        {"size": (20, 11), "resize": (20, 11), "pad": True},
        {"size": 16, "resize": 16, "pad": True},
    ],
)
def test_the_program_prepares_images_as_the_run_does(rule, runs, tmp_path: Path) -> None:
    """Of images that keep their size the same numbers; of others a pixel may be rounded apart."""
    run = load_run(runs("kagn"))
    told = run.description
    told = replace(told, preprocessing=replace(told.preprocessing, **rule))
    source = write_program(tmp_path, run.answers, run.transform.program).read_text()
    write_transform(tmp_path, told)
    names, transform = program(source, tmp_path), ImageTransform(told)
    resized = 1.01 if rule else 0
    random = np.random.default_rng(0)
    pictures = {
        "same.png": (random.integers(0, 256, (16, 16), dtype=np.uint8), resized),
        "colour.png": (random.integers(0, 256, (16, 16, 3), dtype=np.uint8), resized),
        "transparent.png": (random.integers(0, 256, (16, 16, 4), dtype=np.uint8), resized),
        "wide.png": (random.integers(0, 256, (40, 70), dtype=np.uint8), 1.01),
        "small.png": (random.integers(0, 256, (9, 5), dtype=np.uint8), 1.01),
    }
    deviation = run.description.preprocessing.std[0]
    for name, (array, most) in pictures.items():
        Image.fromarray(array).save(tmp_path / name)
        ours = transform(tmp_path / name).numpy()
        theirs = names["prepare"](names["load"](tmp_path / name))[0]
        assert np.abs(ours - theirs).max() <= most / 255 / deviation + 1e-6, name
    Image.fromarray(np.full((16, 16), 40_000, np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(SystemExit, match="has more than 8 bits a pixel"):
        names["load"](tmp_path / "deep.png")


@pytest.mark.parametrize(
    "form", [pytest.param("torch_export", marks=pytest.mark.slow), "safetensors", "hub"]
)
def test_other_formats_give_the_same_outputs(form: str, runs, tmp_path: Path) -> None:
    run = load_run(runs("masks"))
    found = export(run, form, tmp_path)
    images = torch.rand(4, *run.description.input_shape)
    with torch.no_grad():
        expected = Answering(run.model, run.answers)(images)
        if form == "torch_export":
            torch.testing.assert_close(
                torch.export.load(tmp_path / "model.pt2").module()(images), expected
            )
        else:
            other = load_run(tmp_path if form == "hub" else tmp_path / "model.safetensors")
            assert torch.equal(Answering(other.model, other.answers)(images), expected)
            assert found["error"] == 0
    described = json.loads((tmp_path / "transform.json").read_text())
    assert described == run.description.to_dict()
    assert {*found["files"], "export.json"} == {path.name for path in tmp_path.iterdir()}


def test_a_file_that_answers_otherwise_is_not_left(runs, tmp_path: Path, monkeypatch) -> None:
    def wrong(run, network, folder):
        path, exported = exports._to_safetensors(run, network, folder)
        return path, lambda inputs: exported(inputs) * 1.001

    monkeypatch.setitem(exports.FORMATS, "safetensors", wrong)
    with pytest.raises(ConfigError, match=r"the outputs differ by 0\.001 of the largest one"):
        export(load_run(runs("kagn")), "safetensors", tmp_path)
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_exported_is_a_sentence(runs, tmp_path: Path, capsys) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit) as stop:
        main([str(runs("kagn")), "--format", "hub", "--out", str(tmp_path / "file" / "x")])
    assert stop.value.code == 2 and "choose another folder" in capsys.readouterr().err

    class Odd(torch.nn.Module):
        def forward(self, x):
            return x.mean((2, 3)) if x.sum() > 0 else x.sum((2, 3))

    run = load_run(runs("kagn"))
    odd = type(run)(**{**vars(run), "model": Odd()})
    with pytest.raises(ConfigError, match="simple_conv_kagn cannot be exported as torch_export: "):
        export(odd, "torch_export", tmp_path / "odd")
    shutil.rmtree(tmp_path / "odd")
