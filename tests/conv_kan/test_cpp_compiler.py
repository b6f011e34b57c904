"""What is said of a compiler, and what happens to one that is awaited when a signal arrives."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from compilers import SUCCEED, calls, forget, load, place, write_compiler

from conv_kan.ops.cpp import build, lock
from conv_kan.ops.cpp.compiler import CannotCompileError, while_compiling
from conv_kan.ops.maths.notices import say_once
from tests import forks

# In another process: load the library with the compiler of $CXX.
LOAD = f"import sys\nsys.path.insert(0, {str(Path(__file__).parent)!r})\nimport compilers\n"
LOAD += "print(compilers.load())\n"
# A compiler that is slow, and whose child is: it notes both, and has begun to write.
SLOW = ['echo half > "$out"', 'echo half > "$TMPDIR/ccXXXX.s"', "sleep 600 &", "echo $$ $! > {0}"]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache root."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    say_once.cache_clear()
    yield tmp_path / "cache"
    forget()


@pytest.fixture
def use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    """use("line of sh", ...): make and take a compiler."""

    def take(*lines: str) -> Path:
        path = write_compiler(tmp_path / "g++", *lines)
        monkeypatch.setenv("CXX", str(path))
        return path

    return take


def left(cache: Path) -> list[str]:
    return [path.name for path in (cache / "conv_kan").iterdir()]


# --------------------------------------------------------------------------------------- its errors
@pytest.mark.parametrize(
    ("lines", "words", "tries"),
    [
        (["echo 'ld: final link failed: No space left on device'; exit 1"],
         r"failed \(code 1\):\n.*No space left on device\nfree space in .*conv_kan, or set XDG", 1),
        (["echo 'g++: fatal error: Killed signal terminated program cc1plus'; exit 1"],
         r"Killed signal.*\nsomething ended the compiler, mostly for lack of memory", 1),
        (["kill -KILL $$"], "was ended by SIGKILL, without a word.\nsomething ended", 1),
        (["echo \"g++: fatal error: cannot execute 'cc1plus': execvp\"; exit 1"],
         r"cannot execute.*\na part of the compiler or of conv_kan is missing", 1),
        (["echo 'x.cpp:3: error: no such thing'; echo 'of which more'; exit 1"],
         r"failed \(code 1\):\nx.cpp:3: error: no such thing\ntry another g\+\+", 2),
    ],
)  # fmt: skip
def test_the_cause_and_the_remedy_are_named(
    use, cache: Path, lines: list[str], words: str, tries: int
) -> None:
    compiler = use(*lines)
    with pytest.raises(CannotCompileError, match=words):
        load()
    with pytest.raises(CannotCompileError, match=words):  # without another try in this process
        build.load_library("layout.cpp", (("KAN_STORED", "int"),))
    assert calls(compiler) == tries and left(cache) == []


def test_options_of_this_processor_are_left_out_where_they_do_not_work(use) -> None:
    compiler = use('case "$*" in *march=native*) exit 1;; esac', SUCCEED)
    load()
    assert calls(compiler) == 2


@pytest.mark.parametrize(
    ("number", "remedy"),
    [(errno.ENOSPC, "free space there, or set"), (errno.EIO, "set XDG_CACHE_HOME to a folder")],
)
def test_a_disk_that_cannot_keep_a_library_is_a_reason(
    use, cache: Path, monkeypatch: pytest.MonkeyPatch, number: int, remedy: str
) -> None:
    use(SUCCEED)

    def fsync(handle: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(CannotCompileError, match=rf"{os.strerror(number)}; {remedy}"):
        load()
    assert left(cache) == []


# ------------------------------------------------------------------------------------------ signals
def wait_for(path: Path) -> list[int]:
    """The numbers in a file that another process is about to write."""
    until = time.monotonic() + forks.LIMIT
    while not (path.exists() and path.read_text().endswith("\n")) and time.monotonic() < until:
        time.sleep(0.01)
    return [int(word) for word in path.read_text().split()]


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGINT"])
def test_a_signal_ends_process_and_compiler_and_leaves_nothing(
    use, cache: Path, tmp_path: Path, name: str
) -> None:
    number = getattr(signal, name)
    slow = [line.format(tmp_path / "pids") for line in SLOW]
    use(*slow, f"kill -{int(number)} $PPID", "wait")
    (done,) = forks.run("-c", LOAD)
    assert done.returncode == -number, done.stderr
    assert not any(map(forks.is_alive, wait_for(tmp_path / "pids")))
    assert left(cache) == []


def test_a_check_ends_the_wait_and_the_compiler(use, cache: Path, tmp_path: Path) -> None:
    use(*[line.format(tmp_path / "pids") for line in SLOW], "wait")

    def check() -> None:
        if (tmp_path / "pids").exists():
            raise EOFError

    with while_compiling(check), pytest.raises(EOFError):
        load()
    assert not any(map(forks.is_alive, wait_for(tmp_path / "pids")))
    assert left(cache) == []
    use(SUCCEED)
    assert load() == str(place(cache))  # that was no failure


# -------------------------------------------------------------------------------- several processes
def test_one_process_compiles_for_all(use, cache: Path) -> None:
    compiler = use("sleep 0.3", SUCCEED)
    ended = forks.run("-c", LOAD, processes=3)
    assert [e.returncode for e in ended] == [0, 0, 0], ended
    assert {e.stdout for e in ended} == {f"{place(cache)}\n"}
    assert calls(compiler) == 1


def test_the_others_go_on_when_the_one_that_compiles_is_killed(
    use, cache: Path, tmp_path: Path
) -> None:
    """The first compiler kills its parent once, and goes on by itself as orphans do."""
    once = f"if mkdir {tmp_path}/first; then echo half > $out; kill -KILL $PPID; exec sleep 600; fi"
    compiler = use(f"echo $$ >> {tmp_path}/pids", once, SUCCEED)
    commands = [forks.Command(["-c", LOAD]) for _ in range(2)]
    ended = [ranks[0] for ranks in forks.run_together(*commands)]
    orphan = wait_for(tmp_path / "pids")[0]
    os.kill(orphan, signal.SIGKILL)
    assert sorted(e.returncode for e in ended) == [-signal.SIGKILL, 0], ended
    assert calls(compiler) == 2
    assert sorted(left(cache)) == sorted([place(cache).name, place(cache).stem + ".json"])


def test_nobody_waits_for_ever(
    use, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For example for a process that was suspended while it held the lock."""
    use(SUCCEED)
    monkeypatch.setattr(lock, "PATIENCE", 0.1)
    code = "import fcntl, sys, pathlib\n"
    code += "file = open(sys.argv[1], 'w'); fcntl.lockf(file, fcntl.LOCK_EX)\n"
    code += "print('held', flush=True); sys.stdin.read()\n"
    (cache / "conv_kan").mkdir(parents=True)
    path = place(cache).with_suffix(".lock")
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=-1, stdout=-1, text=True
    )
    assert holder.stdout.readline() == "held\n"
    assert load() == str(place(cache))
    assert path.exists()
    holder.communicate()
