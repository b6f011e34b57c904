"""Where the images of a tar file lie: read once from its headers, kept beside it, checked.

A tar file can be read at random once the places of its members are known. Its members are grouped
as webdataset does: `0007.jpg` and `0007.cls` make the sample `0007`.
"""

from __future__ import annotations

import json
import os
import re
import tarfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

from filelock import FileLock

from experiments.data.listing import EXTENSIONS, is_clutter
from experiments.data.notes import say
from experiments.errors import DataError
from experiments.files import write_json

SUFFIX = ".index.json"
FORMAT = 1  # of the index files; those of another one are made anew
MOST_CLASSES = 1_000_000
THREADS = 8  # on a network's disk each header is a wait
_BLOCK = 512  # bytes; a tar file consists of them
_FIELD = re.compile(r"((?:.*/)?[^./]+)\.([^/]+)")  # key and field of a member's name
_WANTED = (
    "each sample needs an image and, under the same name, KEY.cls (its class, as an index or a "
    'name) or KEY.json with a "label"'
)


@dataclass(frozen=True)
class TarIndex:
    """The images of a tar file, in its order. Units: bytes from the start of the file."""

    names: list[str]
    offsets: list[int]
    sizes: list[int]
    labels: list[int] | list[str]


def load_indices(tars: Sequence[Path], spare: Path) -> list[TarIndex]:
    """Return the index of each tar file, made now where there is none yet.

    It lies beside its tar file, or in `spare` where that directory cannot be written. Of several
    processes one makes them while the others wait.

    Raises: DataError for a tar file that is cut short or holds a sample without image or label, and
    for an index that was made of another content.
    """
    found = {tar: _saved(tar, spare) for tar in tars}
    if absent := [tar for tar, index in found.items() if index is None]:
        lock = _place(absent[0], spare).with_name(".index.lock")
        lock.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(lock), ThreadPoolExecutor(THREADS) as pool:
            found |= zip(absent, pool.map(lambda tar: _made(tar, spare), absent), strict=True)
    return [index for index in found.values() if index is not None]


def _place(tar: Path, spare: Path) -> Path:
    folder = tar.parent
    if not os.access(folder, os.W_OK):
        folder = spare / os.path.abspath(folder).lstrip(os.sep).replace(":", "")
    return folder / f"{tar.name}{SUFFIX}"


def _stamp(tar: Path) -> dict[str, int]:
    stat = tar.stat()
    return {"size": stat.st_size, "modified": stat.st_mtime_ns}


def _saved(tar: Path, spare: Path) -> TarIndex | None:
    """The index that lies there, if it is of this very file."""
    content = _read(_place(tar, spare))
    if content is None or content["tar"] != _stamp(tar):
        return None
    return TarIndex(**content["images"])


def _read(path: Path) -> dict[str, Any] | None:
    """An index file; None if there is none, or one that is damaged or of another version."""
    try:
        content = json.loads(path.read_bytes())
        whole = content["format"] == FORMAT and content["hash"] == _hash(content["images"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        whole = False
    if not whole:
        say(f"{path} is damaged or of another version; it is made anew")
    return content if whole else None


def _hash(images: dict[str, Any]) -> str:
    text = json.dumps(images, sort_keys=True, separators=(",", ":"))
    return blake2b(text.encode(), digest_size=16).hexdigest()


def _made(tar: Path, spare: Path) -> TarIndex:
    """Read a tar file and write its index; an index of other images is not written over.

    A copy of a file has another time than its original and the same content: no reason to stop.
    """
    ready = _saved(tar, spare)
    if ready is not None:  # by the process that held the lock before
        return ready
    stamp, path = _stamp(tar), _place(tar, spare)
    index = scan(tar)
    images, before = asdict(index), _read(path)
    if before is not None and before["images"] != images:
        raise DataError(
            f"{path} is older than {tar.name} and was made of another content. If the tar file was "
            "replaced on purpose, delete the index, which is then made anew; else put the old tar "
            "file back"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"format": FORMAT, "tar": stamp, "hash": _hash(images), "images": images})
    return index


# --------------------------------------------------------------------------------------- the scan
def scan(tar: Path) -> TarIndex:
    """Find the samples of a tar file by its headers.

    Raises: DataError if it is no tar file, is compressed or cut short, or if a sample has no label,
    no image of a known extension, or two.
    """
    samples: dict[str, dict[str, tarfile.TarInfo]] = {}
    try:
        with tarfile.open(tar, "r:") as archive:
            for member in archive:
                field = _FIELD.fullmatch(member.name)
                if field is None or not member.isfile() or is_clutter(Path(member.name).name):
                    continue
                fields = samples.setdefault(field[1], {})
                if fields.setdefault(field[2].lower(), member) is not member:
                    raise DataError(f"{tar}: {member.name} is there twice; {_WANTED}")
            end = archive.offset
    except tarfile.ReadError as error:
        raise _unreadable(tar, error) from error
    _require_end(tar, end)
    if not samples:
        raise DataError(f"{tar} holds no sample; {_WANTED}")
    index = TarIndex([], [], [], [])
    with tar.open("rb") as file:
        for key, fields in samples.items():
            image = _image_of(tar, key, fields)
            index.names.append(image.name)
            index.offsets.append(image.offset_data)
            index.sizes.append(image.size)
            index.labels.append(_label_of(tar, key, fields, file))
    return index


def _unreadable(tar: Path, error: tarfile.ReadError) -> DataError:
    with tar.open("rb") as file:
        compressed = file.read(2) in (b"\x1f\x8b", b"BZ", b"\xfd7", b"\x28\xb5")
    if compressed:
        return DataError(
            f"{tar} is compressed and cannot be read at random: unpack it to a plain tar file "
            "(images are compressed already)"
        )
    return DataError(
        f"{tar} is no tar file or is cut short ({error}): copy or download it again, or delete it"
    )


def _require_end(tar: Path, end: int) -> None:
    """A tar file ends with a block of zeros: without it a part is missing."""
    with tar.open("rb") as file:
        file.seek(end)
        if file.read(_BLOCK) == bytes(_BLOCK):
            return
    raise DataError(
        f"{tar} is cut short: it has {tar.stat().st_size:,} bytes and not the block of zeros with "
        "which a tar file ends; copy or download it again"
    )


def _image_of(tar: Path, key: str, fields: dict[str, tarfile.TarInfo]) -> tarfile.TarInfo:
    images = [member for field, member in fields.items() if f".{field}" in EXTENSIONS]
    if len(images) == 1:
        return images[0]
    given = ", ".join(f".{field}" for field in fields)
    if not images:
        raise DataError(
            f"{tar}: the sample {key} has no image of a known extension; it has {given}, known are "
            f"{' '.join(EXTENSIONS)}. Write the shard with one of these, or leave the sample out"
        )
    raise DataError(f"{tar}: the sample {key} has two images ({given}); {_WANTED}")


def _label_of(tar: Path, key: str, fields: dict[str, tarfile.TarInfo], file: Any) -> Any:
    """The class of a sample: an index from 0, or a name."""
    content = {}
    for field in ("cls", "json"):
        if field in fields:
            file.seek(fields[field].offset_data)
            content[field] = file.read(fields[field].size).decode("utf-8", "replace").strip()
    if "cls" in content:
        label: Any = content["cls"]
    else:
        try:
            label = json.loads(content.get("json", "{}")).get("label")
        except (ValueError, AttributeError):
            label = None
    if isinstance(label, str) and re.fullmatch(r"-?\d+", label):
        label = int(label)
    if isinstance(label, bool) or not isinstance(label, (int, str)) or label == "":
        given = ", ".join(f".{field}" for field in fields)
        raise DataError(f"{tar}: the sample {key} has no label (it has {given}); {_WANTED}")
    if isinstance(label, int) and not 0 <= label < MOST_CLASSES:
        raise DataError(
            f"{tar}: the sample {key} has the label {label}: a class is an index from 0, below "
            f"{MOST_CLASSES:,}; images without a class, which often have -1, must be left out"
        )
    return label
