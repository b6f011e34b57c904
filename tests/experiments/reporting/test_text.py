"""Names in pictures: no mathematics, and a font for every character that any font has."""

from __future__ import annotations

import warnings

from matplotlib import font_manager
from matplotlib.figure import Figure

from experiments.reporting import text
from experiments.reporting.plots import plot_curves
from experiments.tasks import rows
from experiments.tasks.confusion import plot_confusion_matrix


def labels(figure: Figure) -> list[str]:
    return [label.get_text() for label in figure.axes[0].get_xticklabels()]


def test_names_are_drawn_as_they_are(tmp_path, figures) -> None:
    names = ["$_$", "caf\udce9", "\u65e5"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # where no font has the last one, a box, and no word
        plot_confusion_matrix([[1, 0, 0]] * 3, names, tmp_path / "a.png")
    assert labels(figures[0]) == ["$_$", "caf\ufffd", "\u65e5"]
    assert not any(label.get_parse_math() for label in figures[0].axes[0].get_xticklabels())
    plot_curves(tmp_path / "none", tmp_path / "b.png", [rows.Figure("$\\frac{1}")])


def test_a_font_is_found_for_what_the_usual_one_lacks(monkeypatch) -> None:
    """matplotlib brings fonts of mathematics: one of them has an alphabet that DejaVu has not."""
    usual = text.families(["abc"])
    assert len(usual) == 1
    script = "\N{MATHEMATICAL BOLD SCRIPT CAPITAL A}"
    fonts = [e for e in font_manager.fontManager.ttflist if not e.name.startswith(text.BOXES)]
    owners = {e.name for e in fonts if text._present({ord(script)}, e.fname)}
    found = text.families(["abc" + script])
    assert found[:1] == usual and set(found[1:]) <= owners and len(found) == (2 if owners else 1)
    assert text.families(["\U0010fffd"]) == usual  # no font has this one
