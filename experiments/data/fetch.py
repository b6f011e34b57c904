"""Copies the files of URLs, each whole or not at all, and goes on where a copy was cut off."""

from __future__ import annotations

import errno
import http.client
import json
import os
import posixpath
import urllib.error
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from experiments.data.download import NETWORK_TIMEOUT, alone
from experiments.data.notes import say
from experiments.errors import DataError
from experiments.files import sync_directory, write_json

SCHEMES = ("file", "http", "https")
THREADS = 4  # files copied at a time
TRIES = 3  # without a new byte
_CHUNK = 1 << 20
_FAILURES = (OSError, http.client.HTTPException, ValueError)
_FINAL = (FileNotFoundError, IsADirectoryError, PermissionError)  # trying again changes nothing


def is_url(name: str) -> bool:
    """Whether a name is a URL that can be copied from."""
    return name.partition("://")[0] in SCHEMES and "://" in name


def fetch_all(urls: Sequence[str], folder: Path, download: bool) -> dict[str, Path]:
    """Return {url: its copy under folder}, copying what is not there yet.

    A copy is renamed to its place when it is whole; until then it is NAME.partial, which the next
    start continues if the server still has the same file. Of several processes one copies.

    Raises: DataError if data.download is false and a copy is absent, if a URL does not answer, or
    if a copy cannot be written.
    """
    copies = {url: _place(url, folder) for url in urls}
    absent = [url for url, copy in copies.items() if not copy.is_file()]
    if absent and not download:
        raise DataError(
            f"{absent[0]} has no copy in {copies[absent[0]].parent.absolute()} "
            "(data.download=false): start with data.download=true, or give the directory that has "
            "the files as data.root"
        )
    if absent:
        folder.mkdir(parents=True, exist_ok=True)
        with alone(folder / ".fetch.lock") as waited:
            absent = [url for url in absent if not copies[url].is_file()]
            if waited and absent:  # the process before has just failed
                raise _failed(absent[0], "another process could not copy it")
            if absent:
                say(f"copying {len(absent)} files to {folder.absolute()}")
            with ThreadPoolExecutor(THREADS) as pool:
                list(pool.map(lambda url: _fetch(url, copies[url]), absent))
    return copies


def _place(url: str, folder: Path) -> Path:
    """Where a copy lies: under scheme, host and path, so that no two files share a place."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2].replace(":", "_")
    return folder / parts.scheme / host / posixpath.normpath("/" + parts.path).lstrip("/")


def _failed(url: str, why: object) -> DataError:
    return DataError(
        f"{url} cannot be copied: {why}. Check the address and the network, then start again, "
        "which goes on where it stopped; or copy the files yourself and give their directory as "
        "data.root"
    )


@dataclass(frozen=True)
class _Version:
    """What a server says of a file: the same again is the same content. Unit of size: bytes."""

    size: int | None
    tag: str | None


def _fetch(url: str, copy: Path) -> None:
    partial = copy.with_name(f"{copy.name}.partial")
    failures = 0
    copy.parent.mkdir(parents=True, exist_ok=True)
    while True:
        before = partial.stat().st_size if partial.exists() else 0
        try:
            _proceed(url, partial)
            break
        except urllib.error.HTTPError as error:
            if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE or not before:
                raise _failed(url, f"the server answers {error.code} {error.reason}") from error
            partial.unlink()
        except _FAILURES as error:
            gained = partial.exists() and partial.stat().st_size > before
            failures = 0 if gained else failures + 1
            if failures == TRIES or isinstance(error, _FINAL) or _disk_full(error):
                raise _failed(url, getattr(error, "reason", None) or error) from error
    os.replace(partial, copy)
    _note_of(partial).unlink(missing_ok=True)
    sync_directory(copy.parent)


def _disk_full(error: Exception) -> bool:
    return getattr(error, "errno", None) == errno.ENOSPC


def _proceed(url: str, partial: Path) -> None:
    """Append what is missing; begin anew if the server has another file or gives no parts.

    Raises: OSError, ValueError if the connection ends before the file does.
    """
    known = _noted(partial)
    start = partial.stat().st_size if known is not None and partial.exists() else 0
    if known is not None and start == known.size:
        return  # whole, and stopped before it was renamed
    stream, start, version = _open(url, start, known)
    with stream:
        if start == 0:
            write_json(_note_of(partial), asdict(version))
        with partial.open("r+b" if start else "wb") as file:
            file.seek(start)
            file.truncate()
            while chunk := stream.read(_CHUNK):
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
            if version.size is not None and file.tell() != version.size:
                raise ValueError(
                    f"the connection ended at {file.tell():,} of {version.size:,} bytes"
                )


def _note_of(partial: Path) -> Path:
    return partial.with_name(f"{partial.name}.json")


def _noted(partial: Path) -> _Version | None:
    with suppress(OSError, ValueError, TypeError):
        return _Version(**json.loads(_note_of(partial).read_text()))
    return None


def _open(url: str, start: int, known: _Version | None) -> tuple[Any, int, _Version]:
    """Return (the stream, the byte at which it begins, what it is a version of)."""
    if url.startswith("file:"):
        path = Path(urllib.request.url2pathname(urlsplit(url).path))
        stat = path.stat()
        version = _Version(stat.st_size, str(stat.st_mtime_ns))
        file = path.open("rb")
        start = start if version == known else 0
        file.seek(start)
        return file, start, version
    headers = {"Range": f"bytes={start}-"} if start else {}
    request = urllib.request.Request(url, headers=headers)
    answer = urllib.request.urlopen(request, timeout=NETWORK_TIMEOUT)
    version = _version_of(answer, start)
    if start and (answer.status != http.HTTPStatus.PARTIAL_CONTENT or version != known):
        if answer.status == http.HTTPStatus.PARTIAL_CONTENT:  # of another file: ask for all of it
            answer.close()
            return _open(url, 0, None)
        start = 0
    return answer, start, version


def _version_of(answer: Any, start: int) -> _Version:
    length = answer.headers.get("Content-Length")
    partly = answer.status == http.HTTPStatus.PARTIAL_CONTENT
    size = None if length is None else int(length) + (start if partly else 0)
    return _Version(size, answer.headers.get("ETag") or answer.headers.get("Last-Modified"))
