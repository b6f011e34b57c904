"""What a trained network is, what it must be shown and what it answers, as plain values.

A run writes it beside its weights and into their file, and a published model carries it, so that
both can be used without the data and the code that made them. Reading one loads no torch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

FORMAT = 1
INTERPOLATIONS = ("nearest", "bilinear", "bicubic")
BACKGROUNDS = ("white", "black", "keep")


@dataclass(frozen=True)
class Preprocessing:
    """How an image becomes an input: (crop(resize(pixel in [0, 1])) - mean) / std.

    The shorter side is resized to `resize` pixels, and a square of `size` pixels at the centre is
    the crop; where both are equal, an image of this size stays as it is. With stretch both sides
    become `size`, whatever the shape; with pad the longer side does, and what is left around the
    centre is filled with the mean: nothing is cut off. alpha: the colour behind transparent
    pixels, or "keep" where their opacity is a channel. Units: mean and std of pixels in [0, 1], per
    channel.

    size and resize may be (height, width): then the image is resized, its shape kept, to the least
    that covers `resize` (with pad: to the most that `size` holds).

    With ndim = 3 inputs are volumes (C, D, H, W), which keep their sides: (voxel in [0, 1] - mean)
    / std. `size` is the side of the cubes of training; what is larger goes through the network in
    windows of it.
    """

    size: int | tuple[int, int]
    resize: int | tuple[int, int]
    interpolation: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    stretch: bool = False
    alpha: str = "white"
    pad: bool = False
    ndim: int = 2

    @property
    def sides(self) -> tuple[int, int]:
        """(height, width) of an image as an input."""
        return pair_of(self.size)

    def place_of(self, image: tuple[int, int]) -> tuple[slice, slice]:
        """Rows and columns of an input that show an image of (height, width), where nothing of it
        is cut off: all of them, or with pad those inside its border."""
        return inscribed(image, self.sides)[1] if self.pad else (slice(None), slice(None))

    @property
    def window(self) -> int | None:
        """The side of the windows in which larger inputs go through; None where all are resized."""
        return self.sides[0] if self.ndim == 3 else None

    def __post_init__(self) -> None:
        pairs = list(zip(pair_of(self.size), pair_of(self.resize), strict=True))
        fits = all(0 < size <= resize for size, resize in pairs)
        if not (fits and self.interpolation in INTERPOLATIONS and not (self.stretch and self.pad)):
            raise ValueError(
                f"size={self.size}, resize={self.resize}, interpolation={self.interpolation!r}: "
                f"0 < size <= resize, and one of {', '.join(INTERPOLATIONS)}"
            )
        resized = self.stretch or self.pad or self.resize != self.size
        if self.ndim != 2 and (self.ndim != 3 or resized or not isinstance(self.size, int)):
            raise ValueError(
                f"ndim={self.ndim}, size={self.size}, resize={self.resize}: ndim is 2 or 3, and "
                "volumes are cubes of one size, to which nothing is resized"
            )
        if self.alpha not in BACKGROUNDS:
            raise ValueError(f"alpha={self.alpha!r}: one of {', '.join(BACKGROUNDS)}")
        if len(self.mean) != len(self.std):
            raise ValueError(f"{len(self.mean)} means and {len(self.std)} deviations")


@dataclass(frozen=True)
class Description:
    """A network by its registered name and all its options, and the task that it was trained for.

    num_classes and input_channels are what create_model takes; input_shape is (C, *S) of one input
    as the network was trained. class_names is empty where outputs are no classes; preprocessing is
    None where inputs are no images, and of volumes in files of earlier versions. Of outputs that
    are numbers, output * target_std + target_mean are the predictions, which target_names names;
    elsewhere these three are empty.
    """

    model: str
    options: Mapping[str, Any]
    num_classes: int
    input_channels: int
    input_shape: tuple[int, ...]
    task: str
    class_names: tuple[str, ...] = ()
    preprocessing: Preprocessing | None = None
    target_names: tuple[str, ...] = ()
    target_mean: tuple[float, ...] = ()
    target_std: tuple[float, ...] = ()
    format: int = FORMAT

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        values: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        rule = values["preprocessing"]
        for f in fields(Preprocessing) if rule is not None else ():
            if rule[f.name] == f.default:
                del rule[f.name]  # earlier versions of this format do not know all of them
        for key in ("target_names", "target_mean", "target_std"):
            if not values[key]:
                del values[key]  # nor these
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Description:
        """The description that to_dict has written.

        Raises: ValueError for what is none, naming what is missing, unknown or of another kind.
        """
        given = _checked(cls, values)
        if given.get("format", FORMAT) != FORMAT:
            raise ValueError(
                f"a description of format {given['format']!r}; this version reads format {FORMAT}"
            )
        rule = given.get("preprocessing")
        if rule is not None:
            given["preprocessing"] = Preprocessing(**_checked(Preprocessing, rule))
        return cls(**given)


def pair_of(size: int | Sequence[int]) -> tuple[int, int]:
    """(height, width) of a size, which is one side or both."""
    if isinstance(size, int):
        return size, size
    height, width = size
    return height, width


def inscribed(
    image: tuple[int, int], sides: tuple[int, int]
) -> tuple[list[int], tuple[slice, slice]]:
    """The most that `sides` holds of an image's shape, and the rows and columns in their centre.

    With s = min(height / h, width / w) an image of (h, w) gets round(s h) x round(s w) pixels.
    """
    scale = min(side / own for side, own in zip(sides, image, strict=True))
    pairs = zip(sides, image, strict=True)
    size = [min(max(round(own * scale), 1), side) for side, own in pairs]
    first = [(side - own) // 2 for side, own in zip(sides, size, strict=True)]
    rows, columns = (slice(f, f + own) for f, own in zip(first, size, strict=True))
    return size, (rows, columns)


def note_of_weights(text: str, description: Mapping[str, Any]) -> str:
    """What a file of weights says of itself: a line for people, and the description."""
    return json.dumps({"weights": text, "description": description}, sort_keys=True)


def read_note(note: str) -> tuple[str, Description | None]:
    """The line and the description of a note; files of earlier versions have only the line.

    Raises: ValueError for a description that cannot be read.
    """
    try:
        values = json.loads(note)
        text, described = values["weights"], values["description"]
    except (ValueError, KeyError, TypeError):
        return note, None
    return str(text), Description.from_dict(described) if described else None


def _checked(cls: type, values: Any) -> dict[str, Any]:
    """The fields of a dataclass, sequences as tuples, if that is what the values are."""
    if not isinstance(values, Mapping):
        raise ValueError(f"a {cls.__name__.lower()} is a table, not {type(values).__name__}")
    known = {f.name: str(f.type) for f in fields(cls)}
    needed = {f.name for f in fields(cls) if f.default is f.default_factory}  # both missing
    for label, names in (("lacks", needed - values.keys()), ("has", values.keys() - known.keys())):
        if names:
            raise ValueError(f"the {cls.__name__.lower()} {label} {', '.join(sorted(names))}")
    wrong = [name for name, value in values.items() if not _fits(known[name], value)]
    if wrong:
        raise ValueError(
            f"the {cls.__name__.lower()} says {wrong[0]}={values[wrong[0]]!r}, which is no "
            f"{known[wrong[0]]}"
        )
    return {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}


def _fits(kind: str, value: Any) -> bool:
    """Whether a value read from JSON is of the kind that an annotation names."""
    if kind.startswith("int | tuple"):
        return _fits("int", value) or (_fits("tuple[int]", value) and len(value) == 2)
    if kind.startswith("tuple"):
        element = int if "int" in kind else str if "str" in kind else (int, float)
        return isinstance(value, Sequence) and all(isinstance(v, element) for v in value)
    if kind.startswith("Mapping"):
        return isinstance(value, Mapping)
    if kind.startswith("Preprocessing"):
        return value is None or isinstance(value, Mapping)
    if kind == "bool":
        return isinstance(value, bool)
    return isinstance(value, {"str": str, "int": int}[kind]) and not isinstance(value, bool)
