"""docs/differences.md is what its rows say."""

from pathlib import Path

from conv_kan.published.differences import SECTIONS, TARGET, differences_page

ROOT = Path(__file__).parents[2]


def test_the_page_is_the_generated_one():
    written = (ROOT / TARGET).read_text(encoding="utf-8")
    assert written == differences_page(), "run python -m conv_kan.published.differences"


def test_every_difference_has_a_reason_and_is_told_once():
    rows = [row for rows in SECTIONS.values() for row in rows]
    assert all(text and not text.endswith(".") for row in rows for text in row)
    assert all(row.published != row.here for row in rows)
    assert len({(row.names, row.published) for row in rows}) == len(rows)
