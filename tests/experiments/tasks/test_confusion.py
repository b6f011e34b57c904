"""The picture of a confusion matrix, for any number of classes."""

import numpy as np
import pytest
import torch
from PIL import Image

from experiments.tasks import confusion
from experiments.tasks.confusion import plot_confusion_matrix


def test_confusion_matrix_counts_and_colours(tmp_path, figures):
    matrix = torch.tensor([[3, 1, 0], [0, 8, 0], [0, 0, 0]])  # the last class does not occur
    plot_confusion_matrix(matrix, ["cat", "dog", "eel"], tmp_path / "matrix.png")
    axes = figures[0].axes[0]
    assert [text.get_text() for text in axes.texts] == list("310080000")
    share = np.asarray(axes.images[0].get_array())
    assert share.tolist() == [[0.75, 0.25, 0], [0, 1, 0], [0, 0, 0]]
    assert [axes.images[0].norm(value) for value in (0.0, 0.25, 1.0)] == [0.0, 0.25, 1.0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["cat", "dog", "eel"]


@pytest.mark.parametrize("C", [2, 20, 21, 51, 200])
def test_confusion_matrices_of_any_size(tmp_path, figures, C):
    names = [f"a class with quite a long name, number {i}" for i in range(C)]
    plot_confusion_matrix(np.eye(C, dtype=int).tolist(), names, tmp_path / "matrix.png")
    axes = figures[0].axes[0]
    assert len(axes.texts) == (C * C if C <= confusion.MAX_COUNTS else 0)
    named = any("class" in label.get_text() for label in axes.get_yticklabels())
    assert named == (confusion.MAX_NAMES >= C)
    width, height = Image.open(tmp_path / "matrix.png").size
    assert max(width, height) < 2000


def test_pictures_do_not_touch_pyplot(tmp_path):
    import sys

    plot_confusion_matrix([[1]], ["a"], tmp_path / "matrix.png")
    assert (
        "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()
    )
