"""The picture of test images with their true and predicted masks: the worst, median and best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from torch import Tensor

from experiments.data.info import ImageInfo
from experiments.reporting.plots import save_figure
from experiments.reporting.text import as_it_is, plain
from experiments.tasks.base import Predict
from experiments.tasks.maps import classes_of

MAX_NAMED = 24  # classes up to which the colours are explained
GREY, YELLOW = 7, (1.0, 0.85, 0.18, 1.0)  # of matplotlib's ten colours, and what replaces it
OPACITY = 0.65
IGNORED = (1.0, 1.0, 1.0)


def plot_overlays(
    examples: Mapping[str, Sequence[Mapping[str, Any]]],
    predict: Predict,
    info: ImageInfo,
    png_path: str | Path,
) -> None:
    """Draw a row for the worst, the median and the best images: each image, with its true and with
    its predicted classes in colours. Class 0 has none; pixels to be ignored are white in the truth.
    A border of data.resize=pad is cut away, with what else is to be ignored along the sides.

    Of a volume it is the slice along the first axis with the most pixels of other classes.
    """
    count = max(len(found) for found in examples.values())
    width, height = 3 * 1.5 * count, 1.75 * len(examples) + 0.6
    figure = Figure(figsize=(max(width, 5.0), height), layout="constrained")
    grid = figure.subplots(len(examples), 3 * count, squeeze=False)
    colours = class_colours(len(info.class_names))
    present: set[int] = set()
    for line, (name, found) in zip(grid, examples.items(), strict=True):
        for axes in line:
            axes.set(xticks=[], yticks=[])
            axes.set_frame_on(False)
        line[0].set_ylabel(name)
        items = predict([int(example["index"]) for example in found])
        for place, (example, item) in enumerate(zip(found, items, strict=True)):
            panels = line[3 * place : 3 * place + 3]
            present |= _draw(panels, item, info, colours)
            panels[0].set_title(f"image {example['index']}", fontsize=8)
            panels[1].set_title("truth", fontsize=8)
            panels[2].set_title(f"predicted, IoU {100 * example['iou']:.0f} %", fontsize=8)
    _explain(figure, sorted(present), info, colours)
    save_figure(figure, png_path)


def _draw(
    panels: Sequence[Axes],
    item: tuple[Tensor, Tensor, Tensor],
    info: ImageInfo,
    colours: np.ndarray,
) -> set[int]:
    """Draw one image three times; return the classes in it."""
    inputs, maps, masks = item
    truth, guess = masks[0].numpy(), classes_of(maps)[0].numpy()
    picture = as_picture(inputs[0], info)
    if truth.ndim == 3:
        middle = int((truth > 0).sum((1, 2)).argmax())
        picture, truth, guess = picture[middle], truth[middle], guess[middle]
    ignored = truth == info.batch_ignore_index
    if info.preprocessing.pad:
        inner = _box(~ignored)
        picture, truth, guess, ignored = (part[inner] for part in (picture, truth, guess, ignored))
    panels[0].imshow(picture, aspect="auto" if truth.ndim == 1 else "equal")
    for axes, classes in zip(panels[1:], (truth.clip(0, len(colours) - 1), guess), strict=True):
        shown = np.where(
            (classes > 0)[..., None],
            (1 - OPACITY) * picture + OPACITY * colours[classes],
            picture,
        )
        shown = np.where(ignored[..., None], IGNORED, shown) if axes is panels[1] else shown
        axes.imshow(shown, interpolation="nearest")
    return set(np.unique(truth[~ignored]).tolist()) | set(np.unique(guess).tolist())


def _box(places: np.ndarray) -> tuple[slice, ...]:
    """The least rows and columns that hold all places that are true; of none, all."""
    if not places.any():
        return (slice(None), slice(None))
    lines = [np.flatnonzero(places.any(axis)) for axis in (1, 0)]
    return tuple(slice(found[0], found[-1] + 1) for found in lines)


def as_picture(image: Tensor, info: ImageInfo) -> np.ndarray:
    """Colours of a normalised image in [0, 1]; grey of the first channel unless there are three.

    Shapes: (C, *S) -> (*S, 3).
    """
    shape = (-1, *[1] * (image.ndim - 1))
    pixels = image.float().numpy() * np.reshape(info.std, shape) + np.reshape(info.mean, shape)
    pixels = pixels if len(pixels) == 3 else np.repeat(pixels[:1], 3, axis=0)
    return np.moveaxis(pixels, 0, -1).clip(0, 1)


def class_colours(count: int) -> np.ndarray:
    """A colour for every class, no grey; that of class 0 is not used. Shape: (count, 3)"""
    if count > 11:
        colours = colormaps["hsv"](np.arange(count - 1) / count)
    else:
        colours = np.where(np.arange(10)[:, None] == GREY, YELLOW, colormaps["tab10"](range(10)))
    return np.vstack((np.zeros(3), colours[: count - 1, :3]))


def _explain(figure: Figure, classes: list[int], info: ImageInfo, colours: np.ndarray) -> None:
    """A legend of the classes in the picture, if they are not too many to tell apart."""
    shown = [index for index in classes if index > 0]
    if not shown or len(shown) > MAX_NAMED:
        return
    names = [plain(info.class_names[index])[:24] for index in shown]
    patches = [
        Patch(color=colours[index], label=name) for index, name in zip(shown, names, strict=True)
    ]
    legend = figure.legend(
        handles=patches, loc="outside lower center", ncols=min(len(shown), 8), fontsize=8
    )
    for text in legend.get_texts():
        text.update(as_it_is([text.get_text()]))
