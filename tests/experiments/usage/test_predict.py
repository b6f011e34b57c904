"""Predictions of files need the run alone: the data are gone, and some files are damaged."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from experiments.tasks.answers import Answers
from experiments.usage import load_run
from experiments.usage.predict import main
from tests import forks

WITHOUT_DATA = """
import sys
import experiments.data.sources as sources
def refuse(*args, **kwargs): raise AssertionError("the data are deleted")
for name in dir(sources):
    if name.startswith("load_"): setattr(sources, name, refuse)
from experiments.usage.predict import main
raise SystemExit(main(sys.argv[1:]))
"""


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def logits_of(run, pictures: Path) -> torch.Tensor:
    inputs = torch.stack([run.transform(path) for path in sorted(pictures.iterdir())])
    with torch.inference_mode():
        return run.answers.outputs(run.model, inputs)


def test_without_data_bit_for_bit(runs, pictures: Path, tmp_path: Path) -> None:
    out, run = tmp_path / "new" / "answers.csv", runs("kat")
    (done,) = forks.run("-c", WITHOUT_DATA, str(run), str(pictures), "--out", str(out),
                        "--top", "3")  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = rows_of(out)
    assert list(rows[0]) == ["path", "class", "probability", "class_2", "probability_2",
                             "class_3", "probability_3"]  # fmt: skip
    assert [Path(row["path"]) for row in rows] == sorted(pictures.iterdir())
    values, classes = logits_of(load_run(run), pictures).softmax(1).topk(3)
    written = [[float(row[key]) for key in list(row)[2::2]] for row in rows]
    assert torch.equal(torch.tensor(written), values)
    assert [[int(row[key]) for key in list(row)[1::2]] for row in rows] == classes.tolist()
    summary = json.loads(out.with_suffix(".json").read_text())
    assert sum(summary["answers"].values()) == summary["images"] == len(rows)
    assert (out.parent / "answers_least_certain.png").stat().st_size > 1000


def test_numbers_are_written_in_the_units_of_the_data(runs, pictures, tmp_path: Path) -> None:
    main([str(runs("ink")), str(pictures), "--out", str(tmp_path / "ink.csv")])
    run, rows = load_run(runs("ink")), rows_of(tmp_path / "ink.csv")
    (mean,), (std,) = run.description.target_mean, run.description.target_std
    wanted = [y * std + mean for y in logits_of(run, pictures)[:, 0].tolist()]
    assert [float(row["ink"]) for row in rows] == pytest.approx(wanted, rel=1e-12)
    assert 20 < mean < 40 and list(rows[0]) == ["path", "ink"]


def test_labels_are_those_above_a_half(runs, pictures, tmp_path: Path) -> None:
    main([str(runs("labels")), str(pictures), "--out", str(tmp_path / "labels.csv")])
    run, rows = load_run(runs("labels")), rows_of(tmp_path / "labels.csv")
    probabilities = logits_of(run, pictures).sigmoid()
    for row, p in zip(rows, probabilities.tolist(), strict=True):
        assert [float(row[name]) for name in "0123456789"] == pytest.approx(p, rel=1e-6)
        assert row["labels"].split() == [name for name in "0123456789" if float(row[name]) > 0.5]
    assert any(row["labels"] for row in rows) or probabilities.max() <= 0.5


@pytest.mark.parametrize("name", ["ink", "labels"])
def test_a_program_shows_them_as_predict_does(name, runs, capsys) -> None:
    run = load_run(runs(name))
    output = torch.linspace(-1, 1, run.description.num_classes)
    values = {"np": np, "rule": run.description.to_dict(), "path": "a.png", "image": None}
    capsys.readouterr()  # what training has said
    exec(run.answers.script, {**values, "output": output.numpy()})
    path, *shown = capsys.readouterr().out.strip().split(",")
    row = run.answers.row(output, 1)
    assert path == "a.png" and len(shown) == len(row)
    for text, cell in zip(shown, row, strict=True):
        assert text == cell if isinstance(cell, str) else float(text) == pytest.approx(cell)


def test_masks_have_the_size_of_the_images(runs, pictures: Path, tmp_path: Path) -> None:
    run, out = load_run(runs("masks")), tmp_path / "masks.csv"
    assert main([str(runs("masks")), str(pictures), "--out", str(out), "--batch-size", "3"]) == 0
    classes = logits_of(run, pictures).argmax(1)
    for row, expected in zip(rows_of(out), classes, strict=True):
        mask = Image.open(row["mask"])
        assert mask.size == (32, 32) and mask.mode == "P"
        places = ((torch.arange(32) + 0.5) * 1.5).long()  # the centres of 32 pixels among 48
        assert np.array_equal(np.asarray(mask), expected[places][:, places].numpy())
        overlay = np.asarray(Image.open(row["overlay"]))
        assert overlay.shape == (32, 32, 3)
        shares = [float(row[key]) for key in row if key.startswith("share of ")]
        assert shares == pytest.approx([float((expected == c).double().mean()) for c in range(11)])
    assert sum(shares) == pytest.approx(1)


def test_what_cannot_be_read_is_named_and_the_rest_is_done(
    runs, pictures: Path, tmp_path: Path, capsys
) -> None:
    folder = tmp_path / "images"
    (folder / "deep").mkdir(parents=True)
    shutil.copy(pictures / "0.png", folder / "deep" / "0.png")
    (folder / "cut.png").write_bytes((pictures / "1.png").read_bytes()[:60])
    (folder / "text.jpg").write_text("no picture")
    (folder / "notes.txt").write_text("passed over")
    run, out = str(runs("kagn")), tmp_path / "some.csv"
    assert main([run, str(folder), "--out", str(out)]) == 1
    told = capsys.readouterr().err
    assert told.startswith("2 of 3 images could not be read:\n")
    assert str(folder / "cut.png") in told and str(folder / "text.jpg") in told
    assert [row["path"] for row in rows_of(out)] == [str(folder / "deep" / "0.png")]
    unread = json.loads(out.with_suffix(".json").read_text())["unread"]
    assert sorted(unread) == [str(folder / "cut.png"), str(folder / "text.jpg")]
    with pytest.raises(SystemExit) as stop:
        main([run, str(folder / "*.*"), "--out", str(tmp_path / "none.csv")])
    assert stop.value.code == 2 and not (tmp_path / "none.csv").exists()


def test_files_folders_and_patterns_give_each_image_once(
    runs, pictures: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for name in ("0.png", "1.png"):
        shutil.copy(pictures / name, other)
    out = tmp_path / "all.csv"
    given = [str(pictures / "3.png"), str(pictures / "[0-3].png"), str(pictures), str(other)]
    main([str(runs("masks")), *given, "--out", str(out)])
    rows = rows_of(out)
    assert [Path(row["path"]).name[0] for row in rows] == list("301245601")
    names = [Path(row["mask"]).name for row in rows]
    assert len(set(names)) == len(rows) and {"0_mask.png", "0_2_mask.png"} <= set(names)


MISTAKES = {
    "absent": (["nowhere.png"], "nowhere.png does not exist: give image files"),
    "pattern": (["nowhere/*.png"], "nowhere/*.png fits no image file"),
    "empty": ([""], "holds no image"),
    "top": (["", "--top", "0"], "--top 0: must be 1 or more"),
    "table": (["", "--out", "x.txt"], "--out x.txt: it is a table; give a file named .csv"),
    "place": (["0.png", "--out", "/proc/x/y.csv"], "give another file"),
    "device": (["0.png", "--device", "gpu"], "--device gpu: "),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_a_sentence(mistake, runs, pictures, tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(pictures / "0.png", tmp_path / "0.png")
    (tmp_path / "empty").mkdir()
    arguments, words = MISTAKES[mistake]
    with pytest.raises(SystemExit) as stop:
        main([str(runs("kagn")), *(word or "empty" for word in arguments)])
    assert stop.value.code == 2
    assert words in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.png", "empty"]


def test_outputs_of_a_task_that_says_nothing_of_them_are_numbers(runs) -> None:
    run = load_run(runs("kagn"))
    answers = Answers(run.description, run.answers.options)
    output = torch.arange(10.0)
    assert answers.columns(1) == [f"output_{i}" for i in range(10)]
    assert answers.row(output, 1) == list(map(float, range(10)))
    assert answers.certainty(output) is None and answers.answer(output) == ""
    assert answers.caption(output) == "0, 1, 2"
