"""What the outputs of a trained network say to people: rows of a table, captions, files. No data.

A task names the class that reads its outputs (`Task.answers`); predictions, exports and averages
over mirrored images know these methods, and no task.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor, nn

from experiments.tasks.rows import TaskConfig
from models.description import Description

Cell = str | float


class Answers:
    """Outputs that are numbers, written as they are. Those of a task of its own refine this.

    script: how a program that has numpy and PIL alone shows one output: the body of
    `show(path, image, output)`, where image is the PIL image, output an array of one image, `rule`
    what transform.json holds, and inside(array, image) the part of an array (height, width, ...) of
    an input's size that shows the image.
    written: words for the pictures that `files` gives of each image.
    """

    written: tuple[str, ...] = ()
    script = """\
print(path, *output.reshape(-1).tolist(), sep=",")
"""

    def __init__(self, description: Description, options: TaskConfig) -> None:
        self.description, self.options = description, options

    def outputs(self, model: Callable[[Tensor], Any], inputs: Tensor) -> Tensor:
        """What the network answers, as evaluation runs it: of several outputs the full model's."""
        found: Any = model(inputs)
        last: Tensor = found[-1] if isinstance(found, (tuple, list)) else found
        return last

    def mirrored(self, outputs: Tensor) -> Tensor:
        """The outputs of images that were mirrored left to right, as those of the images."""
        return outputs

    def inside(self, output: Tensor, image: tuple[int, int]) -> Tensor:
        """What an output says of the image alone, not of a border that preprocessing has put around
        it; all other methods take that. image: (height, width) as it was given."""
        return output

    def columns(self, top: int) -> list[str]:
        """The headings of a row. top: how many of the likeliest answers are wanted."""
        return [f"output_{index}" for index in range(self.description.num_classes)]

    def row(self, output: Tensor, top: int) -> list[Cell]:
        """What is written of one image's output. Shape: (K, ...) without the batch."""
        return [float(value) for value in output.flatten()]

    def answer(self, output: Tensor) -> str:
        """The answer by which images are counted; empty where outputs are none."""
        return ""

    def certainty(self, output: Tensor) -> float | None:
        """How sure the network is, in [0, 1]; None where outputs do not tell."""
        return None

    def caption(self, output: Tensor) -> str:
        """The answer in a few words, below a picture of the image."""
        return ", ".join(f"{value:.4g}" for value in output.flatten()[:3].tolist())

    def picture(self, image: Image.Image, output: Tensor) -> Image.Image:
        """The image (RGB), with what the network has found in it."""
        return image

    def files(self, image: Image.Image, output: Tensor) -> dict[str, Image.Image]:
        """Pictures to be written for an image (RGB), by the words of `written`."""
        return {}

    def voxels(self, output: Tensor) -> dict[str, np.ndarray]:
        """What is written of a volume in place of pictures, which show some of its planes, by the
        words of `written`. Shapes: (K, D, H, W) -> (D, H, W)"""
        return {}


CLASS_COLUMNS = ("class", "probability")


class ClassAnswers(Answers):
    """Logits of classes. Shape of an output: (num_classes,)"""

    script = """\
p = np.exp(output - output.max())
p /= p.sum()
names = rule["class_names"] or list(range(len(p)))
print(path, names[p.argmax()], p.max(), sep=",")
"""

    def columns(self, top: int) -> list[str]:
        places = range(2, self._most(top) + 1)
        return ["class", "probability", *(f"{w}_{n}" for n in places for w in CLASS_COLUMNS)]

    def row(self, output: Tensor, top: int) -> list[Cell]:
        values, indices = output.softmax(0).topk(self._most(top))
        names = map(self.name_of, indices.tolist())
        return [cell for pair in zip(names, values.tolist(), strict=True) for cell in pair]

    def answer(self, output: Tensor) -> str:
        return self.name_of(int(output.argmax()))

    def certainty(self, output: Tensor) -> float:
        return float(output.softmax(0).max())

    def caption(self, output: Tensor) -> str:
        name, probability = self.row(output, 1)
        return f"{name}  {100 * float(probability):.1f} %"

    def name_of(self, index: int) -> str:
        """The name of a class; its number where there are no names."""
        names = self.description.class_names
        return names[index] if names else str(index)

    def _most(self, top: int) -> int:
        return min(top, self.description.num_classes)


class LabelAnswers(Answers):
    """Logits of labels, of which an image has any number. Shape of an output: (num_classes,)

    A label is an answer where its probability is above 1/2.
    """

    script = """\
p = 1 / (1 + np.exp(-output))
names = rule["class_names"] or [str(label) for label in range(len(p))]
print(path, " ".join(name for name, q in zip(names, p) if q > 0.5), *p, sep=",")
"""

    def columns(self, top: int) -> list[str]:
        return ["labels", *self.names]

    def row(self, output: Tensor, top: int) -> list[Cell]:
        return [self.answer(output), *output.sigmoid().tolist()]

    def answer(self, output: Tensor) -> str:
        found = zip(self.names, output.tolist(), strict=True)
        return " ".join(name for name, logit in found if logit > 0)

    def certainty(self, output: Tensor) -> float:
        """That of the label that is least certain."""
        return float(output.abs().sigmoid().min())

    def caption(self, output: Tensor) -> str:
        return self.answer(output) or "no label"

    @property
    def names(self) -> list[str]:
        count = self.description.num_classes
        return list(self.description.class_names) or [str(label) for label in range(count)]


class NumberAnswers(Answers):
    """y of t = y * std + mean, in the units of the data. Shape of an output: (num_classes,)"""

    script = """\
values = output * np.array(rule["target_std"]) + np.array(rule["target_mean"])
print(path, *values, sep=",")
"""

    def columns(self, top: int) -> list[str]:
        return list(self.description.target_names)

    def row(self, output: Tensor, top: int) -> list[Cell]:
        mean, std = self.description.target_mean, self.description.target_std
        rows = zip(output.tolist(), std, mean, strict=True)
        return [y * deviation + centre for y, deviation, centre in rows]

    def caption(self, output: Tensor) -> str:
        return ", ".join(f"{value:.4g}" for value in self.row(output, 1)[:3])


class Answering(nn.Module):
    """A network that returns its answer alone, as one tensor. With mirror: the mean of its outputs
    for the image and for the image mirrored left to right."""

    def __init__(self, model: nn.Module, answers: Answers, mirror: bool = False) -> None:
        super().__init__()
        self.model, self.answers, self.mirror = model, answers, mirror
        self.size_divisor = getattr(model, "size_divisor", 1)

    def forward(self, x: Tensor) -> Tensor:
        outputs = self.answers.outputs(self.model, x)
        if not self.mirror:
            return outputs
        return (outputs + self.answers.mirrored(self.answers.outputs(self.model, x.flip(-1)))) / 2


def as_rgb(pixels: np.ndarray) -> Image.Image:
    """A PIL image of colours in [0, 1]. Shape: (H, W, 3)."""
    return Image.fromarray((pixels * 255).round().astype(np.uint8))
