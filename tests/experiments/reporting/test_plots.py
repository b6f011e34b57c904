"""Pictures are made of any metrics a run may leave behind, and the curves are the rows."""

import json
import os

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from experiments.reporting import plots
from experiments.reporting.plots import plot_confusion_matrix, plot_curves, read_rows


def row(split, epoch, step, **values):
    return {"split": split, "epoch": epoch, "step": step, **values}


ROWS = [
    row("train", 1, 5, loss=2.0, accuracy=0.1),
    row("train", 1, 10, loss=1.0, accuracy=0.3, lr=0.1),
    row("validation", 1, 10, loss=1.5, accuracy=0.2),
    row("train", 2, 15, loss=0.5, accuracy=0.6),
    row("validation", 2, 20, loss=None, accuracy=0.5),
]


@pytest.fixture
def figures(monkeypatch):
    """The figures that are drawn, to look at their axes."""
    drawn = []
    save = Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda self, *a, **k: (drawn.append(self), save(self, *a, **k))
    )
    return drawn


def write(path, rows, tail=""):
    path.write_text("".join(json.dumps(r) + "\n" for r in rows) + tail)
    return path


def lines(axes):
    return {line.get_label(): line.get_xydata().tolist() for line in axes.get_lines()}


def test_curves_are_the_rows(tmp_path, figures):
    metrics = write(tmp_path / "metrics.jsonl", ROWS, tail='{"split": "tra')
    plot_curves(metrics, tmp_path / "curves.png")
    loss, accuracy = (lines(axes) for axes in figures[0].axes)
    assert loss["train"] == [[0.5, 2.0], [1.0, 1.0], [2.0, 0.5]]
    assert loss["validation"] == [[1.0, 1.5]]  # a loss of null is left out
    assert accuracy["validation"] == [[1.0, 0.2], [2.0, 0.5]]
    assert Image.open(tmp_path / "curves.png").size[0] > 800
    assert sorted(os.listdir(tmp_path)) == ["curves.png", "metrics.jsonl"]


@pytest.mark.parametrize("content", [None, "", "not json\n", '{"split": "train", "epoch": 1}\n'])
def test_curves_of_a_run_without_metrics(tmp_path, content):
    if content is not None:
        (tmp_path / "metrics.jsonl").write_text(content)
    plot_curves(tmp_path / "metrics.jsonl", tmp_path / "curves.png")
    assert Image.open(tmp_path / "curves.png").format == "PNG"


def test_rows_that_a_kill_has_cut_are_skipped(tmp_path):
    metrics = write(tmp_path / "metrics.jsonl", ROWS[:2], tail='[1]\n{"epoch": 2, "lo')
    assert read_rows(metrics) == ROWS[:2]
    assert read_rows(tmp_path / "absent.jsonl") == []


def test_confusion_matrix_counts_and_colours(tmp_path, figures):
    matrix = torch.tensor([[3, 1, 0], [0, 8, 0], [0, 0, 0]])  # the last class does not occur
    plot_confusion_matrix(matrix, ["cat", "dog", "eel"], tmp_path / "matrix.png")
    axes = figures[0].axes[0]
    assert [text.get_text() for text in axes.texts] == list("310080000")
    share = np.asarray(axes.images[0].get_array())
    assert share.tolist() == [[0.75, 0.25, 0], [0, 1, 0], [0, 0, 0]]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["cat", "dog", "eel"]


@pytest.mark.parametrize("C", [2, 20, 21, 51, 200])
def test_confusion_matrices_of_any_size(tmp_path, figures, C):
    names = [f"a class with quite a long name, number {i}" for i in range(C)]
    plot_confusion_matrix(np.eye(C, dtype=int).tolist(), names, tmp_path / "matrix.png")
    axes = figures[0].axes[0]
    assert len(axes.texts) == (C * C if C <= plots.MAX_COUNTS else 0)
    named = any("class" in label.get_text() for label in axes.get_yticklabels())
    assert named == (plots.MAX_NAMES >= C)
    width, height = Image.open(tmp_path / "matrix.png").size
    assert max(width, height) < 2000


def test_pictures_do_not_touch_pyplot(tmp_path):
    import sys

    plot_confusion_matrix([[1]], ["a"], tmp_path / "matrix.png")
    assert (
        "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()
    )
