"""What the loaders do with images whose targets are numbers: classes, labels, measures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.utils.data import default_collate
from torchvision.transforms.v2.functional import to_dtype

from conv_kan.layers.linear import KANLinear
from experiments.config.augment import AugmentConfig
from experiments.config.schema import Config
from experiments.data.info import ImageInfo
from experiments.data.mixing import build_mix
from experiments.data.recipe import Batch, Recipe
from experiments.data.resizing import in_training
from experiments.data.transforms import Pipeline, build_eval_transform, build_train_transform
from experiments.errors import ConfigError, DataError
from experiments.tasks.base import Task
from models.description import Description


class Reader(Protocol):
    """From targets as a dataset gives them to those of a batch; to be pickled for workers."""

    def one(self, target: Any) -> Any:
        """The target of one image. Raises: DataError for one that does not fit the task."""
        ...

    def many(self, targets: Tensor) -> Tensor:
        """Those of a batch of images in memory, all at once."""
        ...


class ImageTask(Task):
    """A task over images, which says of `info` how they become inputs.

    Attributes:
        info: of the images; set by a subclass before anything else is asked.
        class_names: of the outputs, where they are classes or labels.
    """

    info: ImageInfo
    class_names: Sequence[str] = ()

    def passed_shapes(self) -> dict[str, tuple[int, ...]]:
        found, augment = super().passed_shapes(), self.config.augment
        if augment.size is not None and not self.config.trainer.overfit_batches:
            found["augment.size"] = in_training(augment, self.info).shape
        return found

    def describe(self) -> dict[str, Any]:
        rule = self.info.preprocessing
        return {**super().describe(), "class_names": self.class_names, "preprocessing": rule}

    def adopt(self, description: Description) -> None:
        super().adopt(description)
        self.info = self.info.as_trained(description.preprocessing)


class ReadTask(ImageTask):
    """One whose targets fit where its `reader` can read them."""

    reader: Reader

    def check_target(self, target: Any) -> str | None:
        try:
            self.reader.one(target)
        except DataError as error:
            return str(error)
        return None


def image_recipe(
    info: ImageInfo,
    augment: AugmentConfig | None,
    reader: Reader,
    check: Callable[[Any], tuple[int, str] | None],
    num_classes: int | None = None,
) -> Recipe:
    """Images for evaluation or, with augment, for training.

    num_classes: of targets that are class indices; None where they are vectors already, which may
    be mixed as they are.
    """
    pipeline = (
        build_eval_transform(info) if augment is None else build_train_transform(augment, info)
    )
    return Recipe(
        prepare=PrepareImage(pipeline, reader),
        whole_batches=not pipeline.random,
        collate=stack_images,
        check=check,
        finish=FinishImages(pipeline),
        mix=None if augment is None else build_mix(augment, num_classes),
    )


@dataclass(frozen=True)
class PrepareImage:
    """An image through its transform, and its target through the reader; or those of a batch."""

    pipeline: Pipeline
    reader: Reader

    def __call__(self, image: Any, target: Any) -> tuple[Tensor, Any]:
        whole_batch = isinstance(image, Tensor) and image.ndim == 4
        read = self.reader.many if whole_batch else self.reader.one
        return self.pipeline.changes(image), read(target)


@dataclass(frozen=True)
class FinishImages:
    """Normalised images, and their targets."""

    pipeline: Pipeline

    def __call__(self, images: Tensor, targets: Any) -> Batch:
        return self.pipeline.normalise(images), targets


def stack_images(samples: list[tuple[Tensor, Any]]) -> Batch:
    """Images (B, C, H, W) and targets (B, ...); where some have 8 bits and some more, as floats."""
    images, targets = zip(*samples, strict=True)
    if len({image.dtype for image in images}) > 1:
        images = tuple(to_dtype(image, torch.float32, scale=True) for image in images)
    batch: Batch = default_collate(list(zip(images, targets, strict=True)))
    return batch


def require_free_outputs(model: nn.Module, config: Config) -> None:
    """Refuse a network whose outputs a norm ties together, or an activation bounds.

    Classes are judged by their differences, so a classifier may end in them; of a single output a
    norm leaves a constant, and a label that is absent needs a logit far below 0.

    Raises: ConfigError -> a head without them, where the model has one.
    """
    layers = [m for m in model.modules() if isinstance(m, (KANLinear, nn.Linear))]
    last = layers[-1] if layers else None
    if not isinstance(last, KANLinear):
        return
    normed = last.norm is not None and last.norm_position == "output"
    if normed or last.activation is not None:
        ends = [type(part).__name__ for part in (last.norm if normed else None, last.activation)
                if part is not None]  # fmt: skip
        name = config.model["name"]
        way = "type model.head=linear" if config.model.get("head") else "choose another model"
        raise ConfigError(
            f"model {name} ends in {' and '.join(ends)}, which task={config.task.name} cannot use: "
            f"each of its outputs must be free to take any value; {way}"
        )
