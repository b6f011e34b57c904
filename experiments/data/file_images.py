"""Images that lie encoded in files and are decoded when asked for."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from experiments.data.images import DeepColour, open_image
from experiments.data.known import UNKNOWN, Published
from experiments.errors import DataError, reason, shortage


class Identity(NamedTuple):
    """What tells one encoded image from another without reading it. Units: bytes, nanoseconds."""

    name: bytes  # the same wherever the dataset lies
    size: int
    modified: int


class EncodedImages:
    """What all such datasets share; a kind of its own says where an image lies.

    Images are PIL images in any mode, or DeepColour, at their full depth; of a file with several
    pictures the first. Without randomness: an index always gives the same pixels.
    """

    remedy = "replace or delete it"  # for an image that cannot be decoded

    def __init__(self, classes: Sequence[str], known: Published) -> None:
        self.classes = list(classes)
        self.mean, self.std, self.image_size = known

    def open(self, index: int) -> str | Path | BinaryIO:
        """Return the encoded image, as a path or as a file."""
        raise NotImplementedError

    def locate(self, index: int) -> str:
        """Return words for where an image lies, for error messages."""
        raise NotImplementedError

    def identify(self, index: int) -> Identity:
        """Return what an image is known by; the size is -1 if its file is gone."""
        raise NotImplementedError

    def read(self, index: int) -> Image.Image | DeepColour:
        """Decode one image. Raises: DataError if it cannot be, naming it."""
        with in_words_of(lambda: self.locate(index), self.remedy):
            return open_image(self.open(index))


class FileImages(EncodedImages):
    """Encoded images of classes: items are (image, label)."""

    def __init__(self, targets: np.ndarray, classes: Sequence[str], known: Published) -> None:
        super().__init__(classes, known)
        self.targets = targets

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Image.Image | DeepColour, int]:
        return self.read(index), int(self.targets[index])


@contextmanager
def in_words_of(where: Callable[[], str], remedy: str, what: str = "image") -> Iterator[None]:
    """Raise DataError in place of what decoding an image raises; where() says which one it is."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{where()} {error}") from error
    except Image.DecompressionBombError as error:
        raise DataError(
            f"cannot read the image {where()}: {error} Store it smaller, or raise "
            "PIL.Image.MAX_IMAGE_PIXELS in get_data"
        ) from error
    except UnidentifiedImageError as error:
        raise DataError(
            f"cannot read the image {where()}: its content is no picture that Pillow knows: "
            f"{remedy}, then start again"
        ) from error
    except PermissionError as error:
        raise DataError(
            f"cannot read {where()}: {error.strerror}; let this user read it"
        ) from error
    except Exception as error:  # decoders raise many types on damaged files
        raise shortage(error) or DataError(
            f"cannot read the {what} {where()}: {reason(error)}. It is damaged or no {what}: "
            f"{remedy}, then start again"
        ) from error


class FolderImages(FileImages):
    """Image files under one root."""

    def __init__(
        self,
        root: Path,
        samples: Sequence[tuple[str, int]],
        classes: Sequence[str],
        known: Published = UNKNOWN,
    ) -> None:
        self.root = root
        self._names = pack_names(os.path.relpath(path, root) for path, _ in samples)
        super().__init__(np.array([label for _, label in samples], np.int64), classes, known)

    def path(self, index: int) -> Path:
        """Return the file of one image."""
        return self.root / os.fsdecode(bytes(self._names[index]))

    def open(self, index: int) -> Path:
        return self.path(index)

    def locate(self, index: int) -> str:
        return str(self.path(index))

    def identify(self, index: int) -> Identity:
        return identity_of(self.path(index), bytes(self._names[index]))


def identity_of(path: Path, name: bytes) -> Identity:
    """What a file is known by, under a name that does not say where the dataset lies."""
    try:
        stat = path.stat()
    except OSError:
        return Identity(name, -1, 0)
    return Identity(name, stat.st_size, stat.st_mtime_ns)


def pack_names(names: Iterable[str]) -> np.ndarray:
    """Return one array of bytes, not a million strings.

    Workers share its memory, whereas a string's reference count is written at each use, which
    copies its page into every worker.
    """
    return np.array([os.fsencode(name) for name in names])
