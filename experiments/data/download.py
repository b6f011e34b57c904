"""Fetching a published dataset once, or saying clearly what is missing."""

from __future__ import annotations

import http.client
import socket
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout
from torchvision.datasets.utils import check_integrity

from experiments.errors import DataError, UserError, reason, shortage

NETWORK_TIMEOUT = 10.0  # seconds without an answer
WITH_MASKS = ("mask_folder", "pets")
_FAILURES = (
    OSError,  # also URLError and timeouts
    RuntimeError,  # torchvision: no mirror left, or a checksum does not match
    http.client.HTTPException,
    tarfile.TarError,
    zipfile.BadZipFile,
    EOFError,
)


def missing(name: str, looked_in: Sequence[Path], expected: Sequence[str], why: str) -> DataError:
    """Return the error for a dataset that is not there."""
    places = " or ".join(str(place.absolute()) for place in looked_in)
    return DataError(
        f"dataset {name!r} is not in {places} ({why})\n"
        f"Expected there: {', '.join(expected)}\n"
        "Put the files there, or set data.root to the directory that holds them, or use "
        f"data={'canvas' if name in WITH_MASKS else 'digits'}, which needs no files."
    )


def damaged(path: Path, why: object) -> UserError:
    """Return the error for a file that is there but cannot be what it should.

    One that the machine could not read is not to blame: nobody shall delete it.
    """
    if found := shortage(why):
        return found
    if isinstance(why, PermissionError):
        return DataError(f"cannot read {path.absolute()}: {why.strerror}; let this user read it")
    said = reason(why) if isinstance(why, Exception) else why
    return DataError(
        f"{path.absolute()} is damaged or incomplete ({said}): delete it and start again "
        "(with data.download=true, or with a good copy in its place)"
    )


@dataclass(frozen=True)
class Source:
    """A dataset that can be fetched: where it goes, how, and how to tell that it is there."""

    name: str
    root: Path
    expected: Sequence[str]  # files, relative to one of looked_in
    looked_in: Sequence[Path]
    present: Callable[[], bool]
    fetch: Callable[[], object]
    archive: tuple[Path, str] | None = None  # what fetch unpacks if it is there, and its MD5

    def missing(self, why: str) -> UserError:
        """Return the error for this dataset; a damaged archive is the likelier reason."""
        if self.archive is not None and self.archive[0].is_file():
            return damaged(self.archive[0], f"{why}; its checksum is not the published one")
        return missing(self.name, self.looked_in, self.expected, why)

    def has_archive(self) -> bool:
        """Tell whether an intact archive is there, which needs no network."""
        return self.archive is not None and check_integrity(*self.archive)


def ensure_present(source: Source, download: bool) -> None:
    """Fetch a dataset that is absent, in one process while the others wait for it.

    Raises: DataError if it is absent and data.download is false or fetching fails.
    """
    if source.present():
        return
    if not download and not source.has_archive():
        raise source.missing("data.download=false")
    try:
        source.root.mkdir(parents=True, exist_ok=True)
        with alone(source.root / ".download.lock") as waited, _network_timeout():
            if source.present():
                return
            if waited:  # the process before has just failed: trying again only takes time
                raise source.missing("another process could not download it")
            source.fetch()
    except _FAILURES as error:
        if found := shortage(error):
            raise found from error
        why = " ".join(str(error).split())  # torchvision lists its mirrors over several lines
        raise source.missing(f"downloading failed: {why}") from error


@contextmanager
def alone(path: Path) -> Iterator[bool]:
    """Hold a lock file, and tell whether another process held it before."""
    lock = FileLock(path)
    try:
        lock.acquire(blocking=False)
        waited = False
    except Timeout:
        lock.acquire()
        waited = True
    try:
        yield waited
    finally:
        lock.release()


@contextmanager
def _network_timeout() -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(NETWORK_TIMEOUT)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
