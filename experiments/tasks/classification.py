"""Every image is of one class: cross entropy and its kin, accuracy, a confusion matrix."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from experiments.config.data import AugmentConfig, DataConfig
from experiments.config.schema import Config
from experiments.data.containers import Datasets, ImageDataset, labels_of
from experiments.data.info import ImageInfo, describe_images
from experiments.data.recipe import Batch, Recipe
from experiments.data.transforms import (
    Pipeline,
    build_eval_transform,
    build_mix,
    build_train_transform,
)
from experiments.errors import DataError
from experiments.tasks.base import Picture, Task
from experiments.tasks.confusion import plot_confusion_matrix
from experiments.tasks.losses import build_loss
from experiments.tasks.metrics import ClassificationMetrics, check_monitor


class Classification(Task):
    """Images (B, C, H, W) and class indices (B,); logits (B, num_classes).

    Raises:
        ConfigError: an impossible augmentation, loss or trainer.monitor for these classes.
        DataError: data.num_classes is smaller than the labels need; see describe_images.
    """

    def __init__(self, config: Config, datasets: Datasets) -> None:
        super().__init__(config, datasets)
        self.info = describe_images(datasets.train, config.data)
        self.class_names = class_names(datasets.train, config.data)
        self.num_outputs = len(self.class_names)
        self.input_shape = (self.info.channels, self.info.image_size, self.info.image_size)
        self.loss = build_loss(config.loss, self.num_outputs)

    def recipe(self, training: bool) -> Recipe:
        return image_recipe(self.info, self.num_outputs, self.config.augment if training else None)

    def criterion(self, outputs: Tensor, targets: Tensor) -> Tensor:
        loss: Tensor = self.loss(outputs, targets)
        return loss

    def metrics(self, device: torch.device) -> ClassificationMetrics:
        return ClassificationMetrics(self.num_outputs, self.config.metrics, device)

    def running(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The number of hits; a mixed target counts as its largest share."""
        labels = targets.argmax(1) if targets.ndim == 2 else targets
        return (outputs.argmax(1) == labels).sum()

    def check_monitor(self) -> None:
        check_monitor(str(self.config.trainer.monitor), self.num_outputs, self.config.metrics)

    def record(self, metrics: Any) -> dict[str, Any]:
        return {
            "confusion_matrix": metrics.confusion_matrix().tolist(),
            "class_names": list(self.class_names),
        }

    def pictures(self, test: Mapping[str, Any]) -> dict[str, Picture]:
        draw = partial(plot_confusion_matrix, test["confusion_matrix"], test["class_names"])
        return {"confusion_matrix": draw}


def image_recipe(info: ImageInfo, num_classes: int, augment: AugmentConfig | None) -> Recipe:
    """Images of classes, for evaluation or, with augment, for training."""
    pipeline = (
        build_eval_transform(info) if augment is None else build_train_transform(augment, info)
    )
    return Recipe(
        prepare=PrepareImage(pipeline),
        whole_batches=not pipeline.random,
        check=partial(check_labels, num_classes),
        finish=FinishImages(pipeline),
        mix=None if augment is None else build_mix(augment, num_classes),
    )


@dataclass(frozen=True)
class PrepareImage:
    """An image through its transform; one label as an integer, those of a batch as they are."""

    pipeline: Pipeline

    def __call__(self, image: Any, label: Any) -> tuple[Tensor, Any]:
        whole_batch = isinstance(label, Tensor) and label.ndim > 0
        return self.pipeline.changes(image), label if whole_batch else int(label)


@dataclass(frozen=True)
class FinishImages:
    """Normalised images, and their targets."""

    pipeline: Pipeline

    def __call__(self, images: Tensor, targets: Any) -> Batch:
        return self.pipeline.normalise(images), targets


def check_labels(num_classes: int, targets: Tensor) -> tuple[int, str] | None:
    """The first label that is no class, and the rule; None if all are."""
    wrong = ((targets < 0) | (targets >= num_classes)).nonzero()
    if not len(wrong):
        return None
    first = int(wrong[0])
    return first, (
        f"has the label {int(targets[first])}, but there are {num_classes} classes: labels must be "
        f"0 to {num_classes - 1}; set data.num_classes if there are more"
    )


def class_names(train: ImageDataset, cfg: DataConfig) -> tuple[str, ...]:
    """The names of the classes: the dataset's, else the labels up to the largest one.

    Raises: DataError if data.num_classes is smaller than the dataset's.
    """
    names = [str(name) for name in getattr(train, "classes", [])]
    if not names and cfg.num_classes is None:
        names = [str(label) for label in range(int(labels_of(train).max()) + 1)]
    wanted = cfg.num_classes or len(names)
    if wanted < len(names):
        raise DataError(
            f"data.num_classes={wanted}: the dataset has {len(names)} classes; "
            f"use data.num_classes={len(names)} or null"
        )
    return (*names, *(str(label) for label in range(len(names), wanted)))
