"""Pictures are made of any metrics a run may leave behind, and the curves are the rows."""

import json
import os

import pytest
from PIL import Image

from experiments.reporting.plots import plot_curves, read_rows
from experiments.tasks.rows import LOSS, Figure

SHOWN = [LOSS, Figure("accuracy", percent=True)]


def row(split, epoch, step, **values):
    return {"split": split, "epoch": epoch, "step": step, **values}


ROWS = [
    row("train", 1, 5, loss=2.0, accuracy=0.1),
    row("train", 1, 10, loss=1.0, accuracy=0.3, lr=0.1),
    row("validation", 1, 10, loss=1.5, accuracy=0.2),
    row("train", 2, 15, loss=0.5, accuracy=0.6),
    row("validation", 2, 20, loss=None, accuracy=0.5),
]


def write(path, rows, tail=""):
    path.write_text("".join(json.dumps(r) + "\n" for r in rows) + tail)
    return path


def lines(axes):
    return {line.get_label(): line.get_xydata().tolist() for line in axes.get_lines()}


def test_curves_are_the_rows(tmp_path, figures):
    metrics = write(tmp_path / "metrics.jsonl", ROWS, tail='{"split": "tra')
    plot_curves(metrics, tmp_path / "curves.png", SHOWN)
    loss, accuracy = (lines(axes) for axes in figures[0].axes)
    assert loss["train"] == [[0.5, 2.0], [1.0, 1.0], [2.0, 0.5]]
    assert loss["validation"] == [[1.0, 1.5]]  # a loss of null is left out
    assert accuracy["validation"] == [[1.0, 0.2], [2.0, 0.5]]
    assert Image.open(tmp_path / "curves.png").size[0] > 800
    assert sorted(os.listdir(tmp_path)) == ["curves.pdf", "curves.png", "metrics.jsonl"]
    assert (tmp_path / "curves.pdf").read_bytes()[:5] == b"%PDF-"


def test_curves_have_a_title_and_mark_the_chosen_epoch(tmp_path, figures):
    metrics = write(tmp_path / "metrics.jsonl", ROWS)
    plot_curves(metrics, tmp_path / "curves.png", SHOWN, title="a_b on $c, seed 0", chosen=2)
    assert figures[0].get_suptitle() == "a_b on $c, seed 0"
    for axes in figures[0].axes:
        assert lines(axes)["chosen: epoch 2"] == [[2, 0], [2, 1]]
        assert "chosen: epoch 2" in {text.get_text() for text in axes.get_legend().get_texts()}


@pytest.mark.parametrize("content", [None, "", "not json\n", '{"split": "train", "epoch": 1}\n'])
def test_curves_of_a_run_without_metrics(tmp_path, content):
    if content is not None:
        (tmp_path / "metrics.jsonl").write_text(content)
    plot_curves(tmp_path / "metrics.jsonl", tmp_path / "curves.png", SHOWN)
    assert Image.open(tmp_path / "curves.png").format == "PNG"


def test_rows_that_a_kill_has_cut_are_skipped(tmp_path):
    metrics = write(tmp_path / "metrics.jsonl", ROWS[:2], tail='[1]\n{"epoch": 2, "lo')
    assert read_rows(metrics) == ROWS[:2]
    assert read_rows(tmp_path / "absent.jsonl") == []


def test_one_panel_for_each_figure(tmp_path, figures):
    metrics = write(tmp_path / "metrics.jsonl", [row("train", 1, 5, loss=2.0, mae=0.1)])
    plot_curves(metrics, tmp_path / "curves.png", [LOSS])
    plot_curves(metrics, tmp_path / "curves.png", [LOSS, Figure("mae"), Figure("absent")])
    assert [[axes.get_ylabel() for axes in figure.axes] for figure in figures] == [
        ["loss"],
        ["loss", "mae", "absent"],
    ]
    assert lines(figures[1].axes[1])["train"] == [[1.0, 0.1]]
