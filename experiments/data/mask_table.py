"""Which values or colours of mask files stand for which class."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from experiments.config.data import IGNORED, OTHER
from experiments.data.images import DeepColour
from experiments.data.masks import IGNORE
from experiments.data.notes import join_names
from experiments.errors import DataError

STRAY = 16  # more values than this in files without a table are no classes
_RGB = (16, 8, 0)  # bits by which a colour is shifted into one number
LOSSLESS = (
    "save masks as PNG and resize them by nearest neighbour: JPEG and interpolation invent values "
    "between those of the classes"
)


@dataclass(frozen=True)
class MaskTable:
    """The classes of mask files. codes: {value, or colour as one number: class index or IGNORE}.

    other: the index of every value without a code; None where there may be no such value.
    """

    names: tuple[str, ...]
    codes: Mapping[int, int]
    colour: bool
    other: int | None

    @classmethod
    def of(cls, classes: Mapping[str, Any]) -> MaskTable:
        """The table of data.classes, whose order is that of the classes."""
        names = tuple(name for name in classes if name != IGNORED)
        index = {name: place for place, name in enumerate(names)} | {IGNORED: IGNORE}
        stated = {name: value for name, value in classes.items() if value != OTHER}
        colour = any(isinstance(value, (list, tuple)) for value in stated.values())
        codes = {_code(value): index[name] for name, value in stated.items()}
        other = [index[name] for name in classes if name not in stated]
        return cls(names, codes, colour, other[0] if other else None)

    @property
    def ignore_index(self) -> int | None:
        """IGNORE where the table names values that are of no class."""
        return IGNORE if IGNORE in (*self.codes.values(), self.other) else None

    def encode(self, image: Image.Image | DeepColour) -> np.ndarray:
        """Return the class of every pixel. Shape: (H, W) uint8.

        Raises: DataError for a value or colour that is none of the table.
        """
        codes = read_codes(image, self.colour)
        found = distinct(codes)
        index = [self.codes.get(code, self.other) for code in found.tolist()]
        if None in index:
            self._refuse(codes, [code for code in found.tolist() if code not in self.codes])
        return np.array(index, np.uint8)[np.searchsorted(found, codes)]

    def _refuse(self, codes: np.ndarray, strays: list[int]) -> None:
        pixels = int(np.isin(codes, strays).sum())
        shown = join_names([show_code(code, self.colour) for code in strays])
        what = "colour" if self.colour else "value"
        way = (
            LOSSLESS
            if len(strays) > STRAY
            else f"name each there, or write {IGNORED}: {show_code(strays[0], self.colour)}"
        )
        raise DataError(
            f"has the {what}{'s' if len(strays) > 1 else ''} {shown} in {pixels} of {codes.size} "
            f"pixels, which data.classes does not name: {way}"
        )


def read_codes(image: Image.Image | DeepColour, colour: bool) -> np.ndarray:
    """Return the value of every pixel, or its colour as one number. Shape: (H, W).

    Of a palette the values are its indices. Colour files whose three channels are equal are grey.

    Raises: DataError for a picture in colour where values are wanted, and for what is no mask.
    """
    if isinstance(image, DeepColour) or image.mode in ("F", "CMYK", "YCbCr", "LAB", "HSV"):
        kind = "16-bit colour" if isinstance(image, DeepColour) else f"mode {image.mode}"
        raise DataError(f"is a picture of {kind}: masks have 8 bits a channel, or grey values")
    if colour:
        channels = np.asarray(image.convert("RGB")).astype(np.int32)
        return sum(channels[..., i] << bits for i, bits in enumerate(_RGB))  # type: ignore[return-value]
    if image.mode in ("RGB", "RGBA", "LA"):
        channels = np.asarray(image.convert("RGB"))
        if (channels != channels[..., :1]).any():
            found = np.unique(channels.reshape(-1, 3), axis=0)[:4].tolist()
            table = ", ".join(f"NAME{i}: {c}" for i, c in enumerate(found))
            raise DataError(
                f"is a mask in colour, and which colour is which class is not said: type "
                f"'data.classes={{{table}}}'"
            )
        return channels[..., 0]
    if image.mode == "1":
        image = image.convert("L")
    return np.asarray(image)


def distinct(codes: np.ndarray) -> np.ndarray:
    """The values that there are, sorted; of bytes counted, which is faster than sorting."""
    if codes.dtype == np.uint8:
        return np.flatnonzero(np.bincount(codes.reshape(-1), minlength=256))
    return np.unique(codes)


def guess_table(values: Iterable[int]) -> MaskTable:
    """The table of masks without data.classes, which can only be 0 and one other value.

    Raises: DataError for other values -> the table to type.
    """
    found = sorted(values)
    if len(found) == 1:
        raise DataError(
            f"all masks hold the value {found[0]} alone: a network learns two classes or more; "
            "look at the mask files"
        )
    if len(found) == 2 and found[0] == 0:
        return MaskTable.of({"background": 0, "foreground": found[1]})
    shown = join_names([str(value) for value in found])
    if len(found) > STRAY:
        raise DataError(
            f"the masks hold {len(found)} values ({shown}): {LOSSLESS}; or, if everything but 0 "
            "is one class, type 'data.classes={background: 0, foreground: other}'"
        )
    names = ["background" if value == 0 else f"class{value}" for value in found]
    table = ", ".join(f"{name}: {value}" for name, value in zip(names, found, strict=True))
    raise DataError(
        f"the masks hold the values {shown}, and which class each is is not said: type "
        f"'data.classes={{{table}}}' with your names ({IGNORED} for pixels of no class)"
    )


def show_code(code: int, colour: bool) -> str:
    """A value, or a colour as [r, g, b]."""
    return str([code >> bits & 255 for bits in _RGB]) if colour else str(code)


def _code(value: Any) -> int:
    if isinstance(value, (list, tuple)):
        return sum(int(part) << bits for part, bits in zip(value, _RGB, strict=True))
    return int(value)
