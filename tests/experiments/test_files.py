"""A file that is to hold keys and values holds them, or is an error of one type."""

from __future__ import annotations

import pytest

from experiments.files import parse_mapping, read_mapping


@pytest.mark.parametrize("content", [
    b"", b"[]", b"5", b'"text"', b"null", b"{", b"\xff\xfe", b"\x00", b"[" * 100_000,
    b'{"a": ' * 100_000, b"!!python/object:os.system {}", b"a: [1", b"\t- x",
])  # fmt: skip
@pytest.mark.parametrize("is_yaml", [False, True])
def test_what_is_no_mapping_is_a_value_error(content: bytes, is_yaml: bool) -> None:
    if is_yaml and content == b'{"a": ' * 100_000:
        pytest.skip("takes YAML seconds")
    with pytest.raises(ValueError):
        parse_mapping(content, is_yaml=is_yaml)


def test_a_mapping_is_read_by_the_name_of_its_file(tmp_path) -> None:
    (tmp_path / "a.json").write_text('{"a": [1]}')
    (tmp_path / "a.yaml").write_text("a: [1]")
    assert read_mapping(tmp_path / "a.json") == read_mapping(tmp_path / "a.yaml") == {"a": [1]}
    with pytest.raises(FileNotFoundError):
        read_mapping(tmp_path / "b.json")
