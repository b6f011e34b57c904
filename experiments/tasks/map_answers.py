"""What maps of logits say to people: masks as files, overlays, the share of each class."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from experiments.tasks.answers import Answers, Cell, as_rgb
from experiments.tasks.maps import classes_of, logits_of
from experiments.tasks.overlays import OPACITY, class_colours
from experiments.tasks.rows import SegmentationConfig, TaskConfig
from experiments.tasks.windows import segment, size_divisor, window_of
from models.description import Description

PALETTE = 256  # colours that a PNG file can have


class MapAnswers(Answers):
    """Maps of logits (K, H, W), of the size that the network was shown; see inside().

    A mask file holds the index of a class in each pixel, and colours to look at; it is as large as
    the image: each of its pixels is the nearest one of the maps. Maps of volumes are (K, D, H, W),
    as large as they are. What is larger than task.window, and volumes larger than the cubes of
    training, go through the network in windows.
    """

    written = ("mask", "overlay")
    script = """\
classes = (output[0] > 0) if len(output) == 1 else output.argmax(0)
classes = inside(classes, image)
mask = Image.fromarray(classes.astype("uint8")).resize(image.size, Image.NEAREST)
mask.save(Path(path).stem + "_mask.png")
print(path, Path(path).stem + "_mask.png", sep=",")
"""

    def __init__(self, description: Description, options: TaskConfig) -> None:
        super().__init__(description, options)
        names = description.class_names
        self.names = names or tuple(map(str, range(max(description.num_classes, 2))))

    def outputs(self, model: Callable[[Tensor], Any], inputs: Tensor) -> Tensor:
        options = self.options
        assert isinstance(options, SegmentationConfig)
        return segment(
            model,
            inputs,
            window=window_of(options.window, self.description.preprocessing),
            overlap=options.overlap,
            divisor=size_divisor(model),
        )

    def mirrored(self, outputs: Tensor) -> Tensor:
        return outputs.flip(-1)

    def inside(self, output: Tensor, image: tuple[int, int]) -> Tensor:
        rule = self.description.preprocessing
        if rule is None:
            return output
        rows, columns = rule.place_of(image)
        return output[..., rows, columns]

    def columns(self, top: int) -> list[str]:
        return ["certainty", *(f"share of {name}" for name in self.names)]

    def row(self, output: Tensor, top: int) -> list[Cell]:
        """The mean probability of the classes chosen, and the part of the image that is each."""
        counts = np.bincount(_classes(output).reshape(-1), minlength=len(self.names))
        return [self.certainty(output), *(counts / counts.sum()).tolist()]

    def certainty(self, output: Tensor) -> float:
        return float(logits_of(output[None]).softmax(1).amax(1).mean())

    def caption(self, output: Tensor) -> str:
        return f"{100 * self.certainty(output):.1f} %"

    def picture(self, image: Image.Image, output: Tensor) -> Image.Image:
        classes = np.asarray(self._mask(image, output))
        pixels, colours = np.asarray(image) / 255, class_colours(len(self.names))
        mixed = (1 - OPACITY) * pixels + OPACITY * colours[classes]
        return as_rgb(np.where((classes > 0)[..., None], mixed, pixels))

    def files(self, image: Image.Image, output: Tensor) -> dict[str, Image.Image]:
        return {"mask": self._mask(image, output), "overlay": self.picture(image, output)}

    def voxels(self, output: Tensor) -> dict[str, np.ndarray]:
        return {"mask": self._stored(output)}

    def _stored(self, output: Tensor) -> np.ndarray:
        """The classes as files hold them: uint8, or uint16 where there are too many."""
        return _classes(output).astype(np.uint16 if len(self.names) > PALETTE else np.uint8)

    def _mask(self, image: Image.Image, output: Tensor) -> Image.Image:
        classes = self._stored(output)
        mask = Image.fromarray(classes).resize(image.size, Image.Resampling.NEAREST)
        if classes.dtype == np.uint8:
            colours = class_colours(len(self.names))
            mask.putpalette((colours * 255).round().astype(np.uint8).tobytes())
        return mask


def _classes(output: Tensor) -> np.ndarray:
    return classes_of(output[None])[0].numpy()
