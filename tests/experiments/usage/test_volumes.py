"""A run on volumes is used as one on images is: files of scans in, masks in their own order out."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2 import functional as F

from experiments.app import run as train
from experiments.config.compose import load_config
from experiments.config.data import DataConfig
from experiments.config.parse import to_dict
from experiments.data import EvaluationLoader, describe_images
from experiments.data.mask_transforms import mask_recipe
from experiments.errors import ConfigError, DataError
from experiments.tasks.map_answers import MapAnswers
from experiments.tasks.rows import SegmentationConfig
from experiments.tasks.windows import segment
from experiments.usage import ImageTransform, VolumeTransform, load_run
from experiments.usage import export as exports
from experiments.usage.evaluate import main as evaluate
from experiments.usage.export import export
from experiments.usage.load import transform_for
from experiments.usage.predict import main as predict
from experiments.usage.recompose import recompose
from experiments.usage.scripts import import_script
from experiments.usage.standalone import write_program, write_transform
from experiments.usage.volumes import planes
from models.description import Description, Preprocessing
from tests.experiments.conftest import unrendered

SIDE = 8
SCRIPT = f"""
import numpy as np
import torch

from experiments.data.masks import TensorMasks


def volumes(count, seed, bright=255):
    side = {SIDE}
    shape = (count, 1, side, side, side)
    voxels = np.random.default_rng(seed).integers(0, bright, shape).astype("uint8")
    masks = (voxels[:, 0] > bright // 3).astype("uint8") + (voxels[:, 0] > bright // 2)
    names = ["dark", "grey", "bright"]
    return TensorMasks(torch.from_numpy(voxels), torch.from_numpy(masks), names)


def get_data(cfg):
    return volumes(12, 0), volumes(4, 1), volumes(4, 2)
"""
OPTIONS = [
    "model=ukagnet", "model.ndim=3", "model.depth=2", "model.layers=1", "model.width_scale=0.05",
    "data.image_size=null", "trainer.batch_size=4", "trainer.epochs=1",
    "trainer.progress=false", "name=run",
]  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A run on cubes, loaded; the script that gives its data, and that script imported."""
    place = tmp_path_factory.mktemp("volumes")
    script = place / "own_volumes.py"
    script.write_text(SCRIPT)
    data = import_script(script, {}, print)
    config = load_config("segmentation", [*OPTIONS, f"runs_dir={place}"])
    with unrendered():
        path = train(config, data.get_data).run_dir
    return SimpleNamespace(path=path, script=script, data=data, run=load_run(path))


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def maps_of(run: Any, array: np.ndarray, window: int | None = SIDE) -> torch.Tensor:
    """What the network says of a volume (D, H, W) of bytes, by the statistics of its training."""
    rule, voxels = run.description.preprocessing, torch.from_numpy(array)[None, None]
    inputs = (F.to_dtype(voxels, torch.float32, scale=True) - rule.mean[0]) / rule.std[0]
    with torch.inference_mode():
        return segment(run.model, inputs, window=window, overlap=0.25)


def classes_of(run: Any, array: np.ndarray) -> np.ndarray:
    return maps_of(run, array)[0].argmax(0).numpy()


def sides_shown(run: Any, answers: Any, array: np.ndarray) -> list[int]:
    """The longest side of each batch that the network is shown for one volume."""
    shown: list[int] = []
    hook = run.model.register_forward_pre_hook(lambda _, x: shown.append(max(x[0].shape[2:])))
    answers.outputs(run.model, run.transform(array)[None])
    hook.remove()
    return shown


def test_a_file_is_the_voxels_of_the_test_split_bit_for_bit(trained, tmp_path: Path) -> None:
    run, (train_split, _, test) = trained.run, trained.data.get_data(None)
    info = describe_images(train_split, DataConfig(image_size=None))
    loader = EvaluationLoader(test, mask_recipe(info), batch_size=4, rank=0, world_size=1)
    ((seen, _),) = list(loader)
    assert isinstance(run.transform, VolumeTransform) and seen.std() > 0.5
    for index, expected in enumerate(seen):
        np.save(tmp_path / "a.npy", test.images[index, 0].numpy())
        for given in (tmp_path / "a.npy", str(tmp_path / "a.npy"), test.images[index]):
            assert torch.equal(run.transform(given), expected)
    array = noise(3, 4, 5)
    for given in (array, array.astype(np.uint16) * 257, array / 255, array.astype(">f4") / 255):
        torch.testing.assert_close(run.transform(given), run.transform(array[None]))


def test_masks_of_files_are_those_of_the_network_in_their_own_order(
    trained, tmp_path: Path, capsys
) -> None:
    """A cube, a larger volume in windows, a small one that is padded, and a turned NIfTI file."""
    folder, out, run = tmp_path / "scans", tmp_path / "new" / "answers.csv", trained.run
    folder.mkdir()
    arrays = {"a_cube": noise(8, 8, 8), "b_cube": noise(8, 8, 8, seed=1),
              "c_large": noise(9, 19, 12), "d_small": noise(3, 5, 1)}  # fmt: skip
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    affine = np.array([[0, 0, 2, 1], [-3, 0, 0, 5], [0, 1, 0, 7], [0, 0, 0, 1]], float)
    in_file = noise(10, 6, 7)  # its axes: front to back, bottom to top, left to right
    assert nibabel.aff2axcodes(affine) == ("P", "S", "R")
    nibabel.save(nibabel.Nifti1Image(in_file, affine), folder / "e_turned.nii.gz")
    arrays["e_turned"] = in_file.transpose(1, 0, 2)
    (folder / "notes.txt").write_text("passed over")
    Image.new("L", (8, 8)).save(folder / "passed_over.png")
    assert predict([str(trained.path), str(folder), "--out", str(out)]) == 0
    assert "5 volumes" in capsys.readouterr().out
    rows = rows_of(out)
    assert [Path(row["path"]).name.partition(".")[0] for row in rows] == list(arrays)
    for row, (name, array) in zip(rows, arrays.items(), strict=True):
        expected = classes_of(run, array)
        if name == "e_turned":
            mask = nibabel.load(row["mask"])
            assert mask.get_data_dtype() == np.uint8 and np.array_equal(mask.affine, affine)
            found = np.asarray(mask.dataobj).transpose(1, 0, 2)
            assert row["mask"].endswith("answers_files/e_turned_mask.nii.gz")
        else:
            found = np.load(row["mask"])
            assert found.dtype == np.uint8 and row["mask"].endswith(f"{name}_mask.npy")
        assert np.array_equal(found, expected), name
        shares = [float(row[f"share of {word}"]) for word in run.class_names]
        assert shares == pytest.approx([(expected == index).mean() for index in range(3)])
        assert 1 / 3 <= float(row["certainty"]) <= 1
    assert len(np.unique(classes_of(run, arrays["c_large"]))) > 1  # else any order were right
    assert (out.parent / "answers_least_certain.png").stat().st_size > 1000
    shown = sides_shown(run, run.answers, arrays["c_large"])
    assert len(shown) > 1 and set(shown) == {SIDE}
    again = tmp_path / "again.csv"  # several at once, of those the two cubes together
    predict([str(trained.path), str(folder), "--out", str(again), "--batch-size", "5", "--tta"])
    assert [row["path"] for row in rows_of(again)] == [row["path"] for row in rows]


def test_an_overlay_shows_the_middle_planes_upright(trained, tmp_path: Path) -> None:
    array = np.zeros((6, 4, 8), np.uint8)
    array[3, 0, :] = 200  # in the middle axial plane, its first row
    array[5, 2, :] = 160  # in the middle coronal plane, at its top
    array[0, 3, 4] = 40  # in the middle sagittal plane, at the end of its lowest row
    np.save(tmp_path / "a.npy", array)
    volume = trained.run.transform.admit(tmp_path / "a.npy")
    picture = np.asarray(trained.run.transform.picture(volume))[..., 0]
    times, gap = 24, 4  # 8 voxels in 192 pixels
    axial, coronal, sagittal = picture[:, :192], picture[:, 196:388], picture[:, 392:]
    assert picture.shape == (6 * times, 2 * 192 + 4 * times + 2 * gap)
    assert axial[0].min() == 255 and axial[times].max() == 0
    assert coronal[0].min() == coronal[times - 1].min() == 204 and coronal[times].max() == 0
    assert sagittal[-1].tolist() == [0] * 3 * times + [51] * times
    assert sagittal[0, 2 * times] == 204
    maps = planes(torch.from_numpy(array)[None].float(), (2.0, 1.0, 1.0))  # 12 x 4 x 8 mm
    assert maps.shape == (1, 192, 128 + gap + 128 + gap + 64)
    assert planes(torch.zeros(2, 3000, 1, 1), (0.0, 1.0, 1.0)).shape[1] == 1024
    overlay = trained.run.answers.picture(
        trained.run.transform.picture(volume),
        trained.run.transform.maps(volume, torch.eye(3)[0][:, None, None, None].expand(3, 6, 4, 8)),
    )
    assert np.array_equal(np.asarray(overlay)[..., 0], picture)  # of class 0 alone


def test_a_run_is_evaluated_and_other_data_are_shown_as_in_training(trained, tmp_path) -> None:
    evaluate([str(trained.path), "--script", str(trained.script), "--out", str(tmp_path)])
    (found,) = tmp_path.glob("*-test.json")
    test = json.loads((trained.path / "test.json").read_text())
    result = json.loads(found.read_text())
    assert result["metrics"] == test["metrics"]
    assert (result["img_size"], result["crop_pct"], result["interpolation"]) == (SIDE, None, None)
    other = tmp_path / "dim_volumes.py"  # their own statistics would make them as bright
    other.write_text(SCRIPT.replace("bright=255", "bright=90").replace("side = 8", "side = 10"))
    evaluate([str(trained.path), "--script", str(other), "--out", str(tmp_path / "dim")])
    (found,) = (tmp_path / "dim").glob("*-test.json")
    masks = import_script(other, {}, print).get_data(None)[2]
    assert masks.images.shape[2:] == (10, 10, 10)

    def loss(window: int | None) -> float:
        maps = [maps_of(trained.run, image[0].numpy(), window) for image in masks.images]
        return float(torch.nn.functional.cross_entropy(torch.cat(maps), masks.targets.long()))

    value = json.loads(found.read_text())["metrics"]["loss"]
    assert value == pytest.approx(loss(SIDE), abs=1e-6)  # in windows, as predict shows them
    assert abs(loss(None) - value) > 1e-4
    options = [str(trained.path), "--script", str(other), "--out", str(tmp_path / "whole")]
    evaluate([*options, "task.window=null"])
    (found,) = (tmp_path / "whole").glob("*-test.json")
    value = json.loads(found.read_text())["metrics"]["loss"]
    assert value == pytest.approx(loss(None), abs=1e-6)


def test_a_task_that_has_no_windows_is_evaluated_on_volumes_too(trained) -> None:
    saved = to_dict(load_config("cifar", ["data=digits"]))
    recomposed = recompose(saved, trained.run.description, [])
    assert recomposed.config.task == load_config("cifar").task


@pytest.mark.parametrize(
    "form", ["safetensors", "hub", pytest.param("torch_export", marks=pytest.mark.slow)]
)
def test_it_is_exported_and_used_from_there(form: str, trained, tmp_path: Path) -> None:
    found = export(trained.run, form, tmp_path)
    assert found["error"] <= 1e-5
    assert json.loads((tmp_path / "transform.json").read_text())["preprocessing"]["ndim"] == 3
    if form == "torch_export":
        return
    other = load_run(tmp_path if form == "hub" else tmp_path / "model.safetensors")
    array = noise(12, 8, 9)
    outputs = [run.answers.outputs(run.model, run.transform(array)[None])
               for run in (trained.run, other)]  # fmt: skip
    assert torch.equal(*outputs)


def test_an_export_takes_a_cube_whole_where_the_run_had_smaller_windows(trained) -> None:
    answers = MapAnswers(trained.run.description, SegmentationConfig("segmentation", window=4))
    run, cube = replace(trained.run, answers=answers), noise(SIDE, SIDE, SIDE)
    assert set(sides_shown(run, answers, cube)) == {4}
    assert sides_shown(run, exports._whole(run), cube) == [SIDE]


@pytest.mark.slow
def test_the_onnx_program_writes_the_masks_of_predict(trained, tmp_path: Path) -> None:
    found = export(trained.run, "onnx", tmp_path)
    assert found["files"] == ["model.onnx", "transform.json", "run_onnx.py"]
    array = noise(SIDE, SIDE, SIDE)
    np.save(tmp_path / "scan.npy", array)
    done = subprocess.run([sys.executable, "run_onnx.py", "scan.npy"], cwd=tmp_path,
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == "scan.npy,scan_mask.npy\n"
    assert np.array_equal(np.load(tmp_path / "scan_mask.npy"), classes_of(trained.run, array))


def test_the_onnx_program_prepares_volumes_as_the_run_does(trained, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = trained.run
    write_transform(tmp_path, run.description)
    text = write_program(tmp_path, run.answers, run.transform.program).read_text()
    lines = [line for line in text.splitlines() if "onnxruntime" not in line]
    names: dict[str, Any] = {"__file__": str(tmp_path / "run_onnx.py")}
    exec("\n".join(lines[: lines.index("for path in sys.argv[1:]:")]), names)
    array = noise(SIDE, SIDE, SIDE)
    for voxels in (array, array[None].astype(np.uint16) * 257, array / 255):
        np.save("a.npy", voxels)
        prepared = torch.from_numpy(names["prepare"](names["load"]("a.npy")))
        assert prepared.dtype == torch.float32
        torch.testing.assert_close(prepared[0], run.transform("a.npy"))
    output = torch.randn(3, SIDE, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    names["show"]("a.npy", output.numpy())
    assert np.array_equal(np.load("a_mask.npy"), output.argmax(0))
    for wrong, words in ((noise(9, 8, 8), "cut it into such cubes"), (array - 0.5, "give uint8")):
        np.save("b.npy", wrong)
        with pytest.raises(SystemExit, match=words):
            names["load"]("b.npy")


WRONG = {
    "ints.npy": (noise(4, 4, 4).astype(np.int64), "full range is not known.*the volumes of train"),
    "bright.npy": (
        np.full((4, 4, 4), 7.0),
        "from 7 to 7: floats must lie in .0, 1.; give image / 2",
    ),
    "flat.npy": (noise(4, 4), r"shape \(4, 4\): the network takes \(1, D, H, W\) or \(D, H, W\)$"),
    "last.npy": (noise(4, 4, 4, 1), r"\(4, 4, 4, 1\): .*; give numpy.moveaxis\(array, 3, 0\)"),
    "empty.npy": (noise(0, 4, 4), "has no pixels"),
    "words.npy": (np.array([[["a"]]]), "holds no numbers that torch has"),
    "objects.npy": (np.array([{}]), "Object arrays cannot be loaded.* damaged or no volume"),
    "text.npy": ("no array", "cannot read the volume .*magic string .* damaged or no volume"),
    "text.nii": ("no scan", "cannot read the volume .*text.nii.* damaged or no volume"),
    "photo.png": (noise(8, 8), "photo.png is no file of a volume .*; give one, or an array to run"),
}


def test_what_cannot_be_read_is_a_sentence_each(trained, tmp_path: Path, capsys) -> None:
    for name, (content, _) in WRONG.items():
        if isinstance(content, str):
            (tmp_path / name).write_text(content)
        elif name.endswith(".png"):
            Image.fromarray(content).save(tmp_path / name)
        else:
            np.save(tmp_path / name, content, allow_pickle=True)
    nibabel.save(nibabel.Nifti1Image(noise(5, 5, 5), np.eye(4)), tmp_path / "whole.nii.gz")
    (tmp_path / "cut.nii.gz").write_bytes((tmp_path / "whole.nii.gz").read_bytes()[:90])
    five = nibabel.Nifti1Image(noise(5, 5, 5, 1, 1), np.eye(4))
    nibabel.save(five, tmp_path / "five.nii")
    words = {name: text for name, (_, text) in WRONG.items()} | {
        "cut.nii.gz": "cannot read the volume .*cut.nii.gz.* damaged or no volume",
        "five.nii": r"five.nii has 5 axes: they must be \(x, y, z\) or",
    }
    out, given = tmp_path / "answers.csv", [str(tmp_path), str(tmp_path / "photo.png")]
    assert predict([str(trained.path), *given, "--out", str(out)]) == 1
    assert capsys.readouterr().err.startswith(f"{len(words)} of {len(words) + 1} volumes could not")
    unread = json.loads(out.with_suffix(".json").read_text())["unread"]
    assert {Path(path).name for path in unread} == set(words)
    for path, told in unread.items():
        assert path in told and "\n" not in told
        assert re.search(words[Path(path).name], told), told
    with pytest.raises(DataError, match="the Image given is no volume: give a path"):
        trained.run.transform(Image.new("L", (8, 8)))
    with pytest.raises(SystemExit):
        predict([str(trained.path), str(tmp_path / "*.txt")])
    assert "fits no volume file; give another pattern" in capsys.readouterr().err


def test_a_network_of_images_refuses_a_volume(tmp_path: Path) -> None:
    rule = Preprocessing(8, 8, "bilinear", (0.5,), (0.25,))
    told = Description("vgg", {}, 2, 1, (1, 8, 8), "classification", preprocessing=rule)
    for name in ("a.npy", "a.nii.gz"):
        with pytest.raises(
            DataError, match=rf"{name} holds a volume or an array, .* give a picture"
        ):
            ImageTransform(told)(tmp_path / name)


def test_a_run_of_an_earlier_version_says_what_it_did(trained) -> None:
    told = replace(trained.run.description, preprocessing=None)
    with pytest.raises(ConfigError, match=r"takes tensors \(1, 8, 8, 8\), no pictures: call model"):
        transform_for(told).require_rule()
