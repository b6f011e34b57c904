"""Files that are whole or absent, whatever stops the process or fills the disk."""

from __future__ import annotations

import errno
import json
import math
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml

try:
    import fcntl
except ImportError:  # Windows has no POSIX locks
    fcntl = None  # type: ignore[assignment]

LOCK = "lock.json"  # of a run directory: see experiments.runs.lock
HELD: set[Path] = set()  # locks of this process, which a POSIX lock does not keep from itself


def read_mapping(path: str | Path) -> dict[str, Any]:
    """The mapping that a JSON file holds, or a YAML file by its name.

    Raises: OSError; ValueError for anything else that such a file may hold once it is damaged.
    """
    return parse_mapping(Path(path).read_bytes(), is_yaml=Path(path).suffix in (".yaml", ".yml"))


def parse_mapping(content: bytes, *, is_yaml: bool = False) -> dict[str, Any]:
    """The mapping in the content of a JSON or YAML file. Raises: ValueError: it holds none."""
    try:
        text = content.decode("utf-8")
        value = yaml.safe_load(text) if is_yaml else json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    except yaml.YAMLError as error:
        raise ValueError(str(error).partition("\n")[0]) from error
    if not isinstance(value, dict):
        raise ValueError(f"it holds {type(value).__name__}, not keys with values")
    return value


def read_rows(path: str | Path) -> list[dict[str, Any]]:
    """Rows of a file such as metrics.jsonl, which has none while it is missing.

    A line that a kill has cut off is skipped.
    """
    rows = []
    if Path(path).exists():
        for line in Path(path).read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(row, dict):
                rows.append(row)
    return rows


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside `path`, and move it onto `path` when the block ends well.

    Readers see the old file or the new one, also after a power cut; an error in the block leaves
    the old one. The temporary name keeps the suffix, which picture formats are chosen by.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_directory(path.parent)


def remove_temporaries(path: Path) -> None:
    """Remove the temporary files of writers of path that were killed."""
    pattern = re.compile(rf"\.{re.escape(path.stem)}\.\d+{re.escape(path.suffix)}")
    for file in path.parent.glob(".*"):
        if pattern.fullmatch(file.name):
            file.unlink(missing_ok=True)


def write_json(path: str | Path, value: Any) -> None:
    """Write value as indented JSON, atomically; floats that are not finite become null."""
    text = json.dumps(_finite(value), indent=2, allow_nan=False) + "\n"
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _finite(value: Any) -> Any:
    """value with NaN and infinities, which JSON cannot hold, replaced by None."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value


def sync_directory(directory: Path) -> None:
    """Make a rename in directory durable, where the system can open directories (not Windows)."""
    with suppress(OSError):
        handle = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def append_line(path: Path, line: str) -> None:
    """Append one line and flush it to the disk; a line that a kill has cut stays apart."""
    with open(path, "a+b") as file:
        if file.tell() > 0:
            file.seek(-1, os.SEEK_END)
            line = line if file.read(1) == b"\n" else "\n" + line
        file.write(line.encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def lock_is_held(path: Path) -> bool | None:
    """Whether a process holds the POSIX lock on a file; None where that cannot be told.

    Locks of this process are told by HELD: to open and close their files would give them back.
    """
    if path.resolve() in HELD:
        return True
    if fcntl is None:
        return None
    try:
        handle = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    except OSError:
        return None
    try:
        fcntl.lockf(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except OSError as error:
        return True if error.errno in (errno.EACCES, errno.EAGAIN) else None
    finally:
        os.close(handle)
