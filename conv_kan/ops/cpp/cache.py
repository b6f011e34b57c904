"""Where compiled libraries are kept, and whether one that lies there may be loaded.

A library is code that runs: it is loaded only from a folder that nobody else can write to or put
another in place of, and only while it is what the compiler wrote, by the size and the hash that
are kept beside it. Such a folder also closes the time between that look and the loading: nobody
but its owner could exchange the file.
"""

from __future__ import annotations

import atexit
import functools
import hashlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from conv_kan.ops.maths.notices import say_once

_OTHERS = stat.S_IWGRP | stat.S_IWOTH
_REMEDY = "Set XDG_CACHE_HOME to the absolute path of a folder that you alone can write to."

_TEMPORARY: set[Path] = set()


class UntrustedError(OSError):
    """A file that may not be what this user's compiler wrote; the message says why."""


# --------------------------------------------------------------------------------------- the folder
def cache_folder() -> Path:
    """The folder of libraries: conv_kan in $XDG_CACHE_HOME, or in ~/.cache; made if it is missing.

    One that cannot be had or trusted is replaced by a temporary folder of this process alone, with
    one line.
    """
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    folder = Path(base, "conv_kan")
    problem = _make(folder) if folder.is_absolute() else f"{folder} is not an absolute path"
    return folder.resolve() if problem is None else private_folder(problem)


def private_folder(problem: str) -> Path:
    """A temporary folder of this process, removed at its end; the problem is said once.

    Raises: OSError.
    """
    say_once(
        "compiling kernels for this process alone, some seconds each; they cannot be kept: "
        f"{problem}. {_REMEDY}"
    )
    return _temporary_folder(os.getpid())


@functools.cache
def _temporary_folder(process: int) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="conv_kan-")).resolve()
    _TEMPORARY.add(folder)
    atexit.register(_remove, folder, process)
    problem = why_untrusted(folder)
    if problem is not None:
        raise UntrustedError(problem)
    return folder


def _remove(folder: Path, process: int) -> None:
    """Remove the folder, in the process that made it and not in its forks."""
    if os.getpid() == process:
        shutil.rmtree(folder, ignore_errors=True)


def announce(folder: Path) -> None:
    """Say what lasts, before the first library is compiled, on the first process of a launch."""
    if folder not in _TEMPORARY and os.environ.get("LOCAL_RANK", "0") == "0":
        say_once(
            f"compiling kernels for this processor, some seconds each (once, kept in {folder})"
        )


def _make(folder: Path) -> str | None:
    """Make a folder where it is missing; return why it cannot be used, or None."""
    problem = why_untrusted(folder)  # before anything is made there
    try:
        if problem is None and not folder.is_dir():
            for place in reversed([folder, *folder.parents]):
                if not place.is_dir():
                    place.mkdir(mode=0o700, exist_ok=True)
            problem = why_untrusted(folder)
    except OSError as error:
        return str(error)
    return problem


def why_untrusted(folder: Path) -> str | None:
    """Why somebody else may have written into a folder or put it there; None if nobody could.

    It must belong to this user, who alone may write to it. Each folder on the way there must belong
    to this user or to who owns the whole system; others may write only to a sticky one such as
    /tmp, where they cannot exchange what is not theirs.
    """
    own, owners = _users()
    if own is None:
        return None
    try:
        real = folder.resolve()
        for place, found in _places(folder, real):
            last = place in (folder, real)
            if found.st_uid != own and (last or found.st_uid not in owners):
                return f"{place} belongs to another user ({found.st_uid})"
            sticky = bool(found.st_mode & stat.S_ISVTX) and not last
            if found.st_mode & _OTHERS and not sticky and not stat.S_ISLNK(found.st_mode):
                return f"others can write to {place} (chmod go-w {place} ends that)"
    except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle
        return str(error)
    return None


def _users() -> tuple[int | None, set[int]]:
    """This user, None where there are no users (Windows), and who may own the folders above."""
    identify = getattr(os, "geteuid", None)
    if identify is None:
        return None, set()
    return identify(), {identify(), os.stat("/").st_uid}


def _places(folder: Path, real: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Everything that the path of a folder leads through, as far as it exists, links among it."""
    for place in dict.fromkeys([folder, *folder.parents, real, *real.parents]):
        try:
            yield place, os.lstat(place)
        except FileNotFoundError:
            continue


# ------------------------------------------------------------------------------------ the libraries
def is_kept(library: Path) -> bool:
    """Whether a library lies there with its record, as the compiler wrote it.

    Raises: UntrustedError for one that is not as it was written.
    """
    try:
        record = json.loads(_read(_record(library)))
        size, digest = record["bytes"], record["sha256"]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return False
    try:
        content = _read(library)
    except FileNotFoundError:
        return False
    if len(content) != size:
        raise UntrustedError(f"{library} has {len(content)} of {size} bytes")
    if hashlib.sha256(content).hexdigest() != digest:
        raise UntrustedError(f"{library} has changed since it was compiled")
    return True


def keep(made: Path, library: Path) -> None:
    """Move a library that was just made to its place, its record before it, both on the disk."""
    record = _record(made)
    _sync(made)  # an error that the disk held back appears here, before the content is hashed
    content = made.read_bytes()
    record.write_text(
        json.dumps({"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}),
        encoding="utf-8",
    )
    for file, mode in ((record, 0o600), (made, 0o700)):
        file.chmod(mode)  # whatever the umask
        _sync(file)
    record.replace(_record(library))
    made.replace(library)
    _sync(library.parent)


def _record(library: Path) -> Path:
    return library.with_suffix(".json")


def _read(path: Path) -> bytes:
    """The content of a file of this user's that nobody else can write to.

    Raises: UntrustedError; OSError.
    """
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
    with open(handle, "rb") as file:
        found, (own, _) = os.fstat(handle), _users()
        if own is not None and found.st_uid != own:
            raise UntrustedError(f"{path} belongs to another user ({found.st_uid})")
        if own is not None and found.st_mode & _OTHERS:
            raise UntrustedError(f"others can write to {path}")
        return file.read()


def _sync(path: Path) -> None:
    """Write what the system still holds back of a file or folder to the disk."""
    if os.name == "nt" and path.is_dir():  # Windows cannot open folders
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
