"""The file of a study's rows: the newest row counts, and damage is not taken for a result."""

import pytest

from experiments.errors import DataError
from experiments.studies import record
from experiments.studies.setting import Setting

SETTING = Setting({"data": "digits", "kind": "kan"}, 0, ("model=a", 'model.match="b c=1"'))


def row(**values):
    return {**record.row_of(SETTING, None), **values}


def test_the_newest_row_of_a_run_counts(tmp_path):
    path = tmp_path / "results" / "rows.csv"
    assert record.read(path) == []
    record.append(path, row(error="too large"))
    assert record.finished(record.read(path), SETTING) is None
    record.append(path, row(seed=1, status="finished", test=0.5))
    record.append(path, row(status="finished", test=1 / 3))
    assert [r["test"] for r in record.read(path)] == [0.333333, 0.5]
    assert record.finished(record.read(path), SETTING)["test"] == 0.333333
    other = Setting(SETTING.labels, 0, ("model=a",))
    assert record.finished(record.read(path), other) is None


def test_overrides_are_words_of_a_shell(tmp_path):
    record.append(tmp_path / "rows.csv", row())
    (found,) = record.read(tmp_path / "rows.csv")
    assert found["overrides"] == """model=a 'model.match="b c=1"'"""


def test_a_line_that_was_cut_short_is_no_row(tmp_path):
    path = tmp_path / "rows.csv"
    record.append(path, row())
    record.append(path, row(seed=1))
    path.write_text(path.read_text()[:-60])
    assert [found["seed"] for found in record.read(path)] == [0]


@pytest.mark.parametrize("text", ["a,b\n1,2\n", "data,seed,status\ndigits,0,finished\n"])
def test_a_file_of_other_columns_is_refused(tmp_path, text):
    path = tmp_path / "rows.csv"
    path.write_text(text)
    with pytest.raises(DataError, match="move it away"):
        record.append(path, row())
    assert path.read_text() == text
