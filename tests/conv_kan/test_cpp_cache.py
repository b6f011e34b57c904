"""Compiled libraries are loaded where they are whole and nobody else could have put them there."""

from __future__ import annotations

import atexit
import functools
import json
import os
from pathlib import Path

import pytest
from compilers import SUCCEED, calls, forget, load, place, write_compiler

from conv_kan.ops.cpp import cache
from conv_kan.ops.maths.notices import say_once


@pytest.fixture(autouse=True)
def compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A compiler of milliseconds; the cache root is tmp_path / "cache"."""
    path = write_compiler(tmp_path / "g++", SUCCEED)
    monkeypatch.setenv("CXX", str(path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    forget()
    say_once.cache_clear()
    cache._temporary_folder.cache_clear()
    yield path
    forget()


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    lines = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    caplog.clear()
    return lines


# ---------------------------------------------------------------------------------- whole libraries
def write_anew(path: Path, content: bytes) -> None:
    """In another file of the same name: this process runs what is in the old one."""
    path.unlink()
    path.write_bytes(content)
    path.chmod(0o700)


def cut(path: Path) -> None:
    write_anew(path, path.read_bytes()[:1000])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    write_anew(path, bytes(content))


def open_to_all(path: Path) -> None:
    path.chmod(0o757)


def link(path: Path) -> None:
    other = path.with_name("other.so")
    path.rename(other)
    path.symlink_to(other)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (cut, "has 1000 of"),
        (flip, "has changed since it was compiled"),
        (open_to_all, "others can write to"),
        (link, "Too many levels of symbolic links"),
    ],
)
def test_a_damaged_library_is_compiled_again_with_one_line(
    tmp_path: Path, compiler: Path, caplog: pytest.LogCaptureFixture, damage: object, words: str
) -> None:
    assert load() == load() == str(place(tmp_path / "cache"))
    assert calls(compiler) == 1
    whole = Path(load()).read_bytes()
    assert len(said(caplog)) == 1  # that it compiles
    damage(place(tmp_path / "cache"))
    again = Path(load())
    assert calls(compiler) == 2
    (line,) = said(caplog)
    assert words in line and str(again) in line and line.endswith("; it is compiled again")
    assert again.read_bytes() == whole and not again.is_symlink()
    assert load() == str(again) and calls(compiler) == 2 and said(caplog) == []


def test_a_library_without_its_record_is_compiled_again(tmp_path: Path, compiler: Path) -> None:
    """Those of earlier versions, and those that were copied here."""
    record = Path(load()).with_suffix(".json")
    for content in (None, "", "[1]", '{"bytes": 3}'):
        record.unlink() if content is None else record.write_text(content)
        before = calls(compiler)
        load()
        assert calls(compiler) == before + 1, content
    assert json.loads(record.read_text())["bytes"] == place(tmp_path / "cache").stat().st_size


def test_a_library_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = []
    sync, replace = os.fsync, Path.replace

    def fsync(handle: int) -> None:
        done.append(("sync", Path(os.readlink(f"/proc/self/fd/{handle}")).name))
        sync(handle)

    def rename(self: Path, target: Path) -> Path:
        done.append(("name", target.name))
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", rename)
    library = Path(load())
    record = library.with_suffix(".json").name
    names = [("name", record), ("name", library.name)]
    first = done.index(names[0])
    assert {("sync", library.name), ("sync", record)} <= set(done[:first])
    assert done[first:] == [*names, ("sync", "conv_kan")]


# ------------------------------------------------------------------------------------ foreign hands
def plant(cache_root: Path) -> Path:
    """A library with its record, as somebody else would write it."""
    planted = Path(load())
    assert planted == place(cache_root)
    return planted


def taken_from_a_private_folder(planted: Path, caplog: pytest.LogCaptureFixture) -> str:
    """Load, not what was planted; return the one line about it."""
    say_once.cache_clear()
    said(caplog)
    before = planted.stat().st_atime_ns, sorted(planted.parent.iterdir())
    loaded = Path(load())
    assert loaded != planted and loaded.parent.name.startswith("conv_kan-")
    assert loaded.parent.stat().st_mode & 0o777 == 0o700
    assert (planted.stat().st_atime_ns, sorted(planted.parent.iterdir())) == before
    (line,) = said(caplog)
    assert "Set XDG_CACHE_HOME to the absolute path" in line
    return line


@pytest.mark.parametrize("mode", [0o770, 0o702, 0o1777])
@pytest.mark.parametrize("depth", [0, 1])
def test_a_folder_that_others_write_to_is_not_loaded_from(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, mode: int, depth: int
) -> None:
    """Its root may be sticky, as /tmp is: others cannot exchange what lies in that."""
    planted = plant(tmp_path / "cache")
    folder = planted.parents[depth]
    folder.chmod(mode)
    if depth == 1 and mode == 0o1777:
        assert load() == str(planted)
        return
    line = taken_from_a_private_folder(planted, caplog)
    assert f"others can write to {folder} (chmod go-w {folder} ends that)" in line
    folder.chmod(0o700)
    assert load() == str(planted)


def test_a_library_of_another_user_is_not_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    planted = plant(tmp_path / "cache")
    owner, status, link_status = planted.stat().st_uid, os.fstat, os.lstat
    for foreign in (planted.parent, planted.parent.parent):

        def lstat(path: Path, foreign: Path = foreign, **options: int) -> os.stat_result:
            found = list(link_status(path, **options))
            found[4] = 4711 if Path(path) == foreign else found[4]
            return os.stat_result(found)

        with monkeypatch.context() as patch:
            patch.setattr(os, "lstat", lstat)
            line = taken_from_a_private_folder(planted, caplog)
        assert f"{foreign} belongs to another user (4711)" in line

    def fstat(handle: int) -> os.stat_result:
        found = list(status(handle))
        found[4] = 4711
        return os.stat_result(found)

    monkeypatch.setattr(os, "fstat", fstat)
    with pytest.raises(cache.UntrustedError, match=r"belongs to another user \(4711\)"):
        cache.is_kept(planted)
    assert owner == os.geteuid()


def test_links_are_followed_to_what_they_lead_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    planted = plant(tmp_path / "cache")
    hall = tmp_path / "hall"
    hall.mkdir()
    (tmp_path / "cache").rename(hall / "cache")
    (tmp_path / "cache").symlink_to(hall / "cache")
    moved = hall / "cache" / "conv_kan" / planted.name
    assert load() == str(moved)
    hall.chmod(0o777)
    assert f"others can write to {hall} " in taken_from_a_private_folder(moved, caplog)


@pytest.mark.parametrize("case", ["relative", "no home"])
def test_nothing_is_kept_in_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, case: str
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    if case == "relative":
        monkeypatch.setenv("XDG_CACHE_HOME", "caches")
    else:
        monkeypatch.delenv("XDG_CACHE_HOME")
        monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # a user whom nobody knows
    loaded = Path(load())
    assert loaded.parent.name.startswith("conv_kan-") and list(Path().iterdir()) == []
    (line,) = said(caplog)
    assert "conv_kan is not an absolute path. Set XDG_CACHE_HOME" in line


def test_a_cache_that_cannot_be_made_or_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    kept = load()
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK and access(path, mode))
    assert load() == kept  # read-only is enough for what lies there
    Path(kept).unlink()
    said(caplog)
    assert Path(load()).parent.name.startswith("conv_kan-")
    assert f"{Path(kept).parent} cannot be written to." in said(caplog)[0]
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert Path(load()).parent.name.startswith("conv_kan-")
    assert "Not a directory" in said(caplog)[0]


def test_folders_are_made_for_their_user_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "some" / "where"))
    before = os.umask(0)
    try:
        load()
    finally:
        os.umask(before)
    for path in (tmp_path / "some").rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path


def test_a_private_folder_ends_with_its_process_and_not_with_a_fork(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    at_exit: list[functools.partial[None]] = []
    monkeypatch.setattr(atexit, "register", lambda f, *a: at_exit.append(functools.partial(f, *a)))
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    folder, own = Path(load()).parent, os.getpid()
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: own + 1)
        at_exit[0]()
        assert folder.exists()
        other = Path(load()).parent  # a fork does not rely on it either
        at_exit[1]()
    at_exit[0]()
    assert folder != other and not folder.exists() and not other.exists()
